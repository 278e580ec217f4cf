"use strict";
// First of all scripts, so that no page is painted in the other theme. From disk the storage may be closed to pages.
const zoo = {
  started: [], // what each page does with its content; called again when the content is replaced
  curves: {}, // histories by run, filled by data/<run>.js
  wanted: {},
  curve(id, columns) {
    zoo.curves[id] = columns;
    (zoo.wanted[id] || []).forEach((resolve) => resolve(columns));
    delete zoo.wanted[id];
  },
  remember(key, value) {
    try { localStorage.setItem(`zoo-${key}`, value); } catch { /* closed: forgotten with the page */ }
  },
  recall(key) {
    try { return localStorage.getItem(`zoo-${key}`); } catch { return null; }
  },
};
const system = matchMedia("(prefers-color-scheme: dark)");
zoo.theme = () => document.documentElement.dataset.theme || (system.matches ? "dark" : "light");
zoo.setTheme = (name) => {
  document.documentElement.dataset.theme = name;
  zoo.remember("theme", name);
  dispatchEvent(new Event("zoo-theme"));
};
const known = zoo.recall("theme");
if (known === "dark" || known === "light") document.documentElement.dataset.theme = known;
system.addEventListener("change", () => dispatchEvent(new Event("zoo-theme")));
