"use strict";
// Only in a page of one file: the other overviews lie in templates, and links between them change the content. There are
// no pages of runs: a run's link shows its curve. A frame of a notebook follows no links by itself.

(() => {
  const starts = { tradeoffs: startTradeoffs, curves: startCurves };
  const main = document.getElementById("main");
  const first = document.createElement("template");
  first.content.append(...[...main.childNodes].map((node) => node.cloneNode(true)));
  main.dataset.page = "index";
  zoo.started = [() => starts[main.dataset.page]?.()]; // page.js adds the tables

  function go(name, run) {
    main.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
    main.replaceChildren((document.getElementById(`page-${name}`) || first).content.cloneNode(true));
    main.dataset.page = name;
    for (const link of document.querySelectorAll("header nav a")) {
      if (link.getAttribute("href") === `${name}.html`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    Object.assign(view, { sorts: {}, whole: new Set(), tables: 0, only: "" });
    const data = document.getElementById("data");
    if (run) data.textContent = JSON.stringify({ ...JSON.parse(data.textContent), first: [run] });
    zoo.address.write([]);
    zoo.start();
    scrollTo(0, 0);
  }

  zoo.open = (run) => { if (zoo.curves[run]) go("curves", run); };
  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("a[href]")?.getAttribute("href");
    const [, folder, name] = target?.match(/^(runs\/)?([\w-]+)\.html/) || [];
    if (folder) zoo.open(name);
    else if (name) go(name);
    else if (target?.startsWith("#")) location.hash = target;
    else return;
    event.preventDefault();
  });
})();
