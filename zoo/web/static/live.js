"use strict";
// Only in a served page: asks for news every two seconds. Runs at work are shown as they go; when a run is done, the
// server has built the page anew and its content is fetched, in place of the old, with sort and filters as they were.

const up = document.querySelector("script[src$='static/live.js']").getAttribute("src").replace("static/live.js", "");
let edition = document.documentElement.dataset.edition; // of what is shown

function sparkline(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "polyline");
  const known = values.filter((value) => value !== null);
  const low = Math.min(...known), width = Math.max(...known) - low || 1;
  const step = 112 / Math.max(1, known.length - 1);
  svg.setAttribute("viewBox", "0 0 120 28");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("points", known.map((value, index) => `${4 + index * step},${24 - (20 * (value - low)) / width}`).join(" "));
  svg.append(line);
  return svg;
}

function showRunning(runs) {
  const section = document.getElementById("running");
  if (!section) return;
  section.hidden = runs.length === 0;
  section.querySelector("tbody").replaceChildren(...runs.map((run) => {
    const row = document.createElement("tr");
    const cell = (text, kind = "") => Object.assign(document.createElement("td"), { textContent: text, className: kind });
    const model = Object.assign(document.createElement("th"), { scope: "row", className: "model" });
    model.append(Object.assign(document.createElement("a"), { href: `curves.html#runs=${run.id}`, textContent: run.model }),
      Object.assign(document.createElement("span"), { className: "label", textContent: run.state }));
    const accuracy = run.curve.eval_accuracy.findLast((value) => value !== null);
    const curve = cell("");
    if (run.epoch > 1) curve.append(sparkline(run.curve.eval_accuracy));
    row.dataset.run = run.id;
    row.append(model, cell(`${run.dataset}, ${run.recipe}`), cell(run.seed, "number"),
      cell(run.epochs ? `${run.epoch} / ${run.epochs}` : run.epoch, "number epoch"),
      cell(accuracy === undefined ? "–" : (100 * accuracy).toFixed(2), "number"), curve);
    return row;
  }));
}

function notice(text) {
  let line = document.getElementById("notice");
  if (!line) {
    line = Object.assign(document.createElement("p"), { id: "notice", className: "warning" });
    line.setAttribute("role", "status");
    document.getElementById("main").before(line);
  }
  line.textContent = text;
  line.hidden = !text;
}

// What a reader has set in the page's fields: options by their text, for their order may change.
const fields = () => [...document.querySelectorAll("#main :is(select, input[type=search])")].map((field) => ({
  selector: field.id ? `#${field.id}` : `#${field.form.id} [name="${field.name}"]`,
  told: field.options ? field.selectedOptions[0]?.text : field.value,
  focused: field === document.activeElement,
}));

function restore({ selector, told, focused }) {
  const field = document.querySelector(selector);
  if (!field) return;
  if (focused) field.focus();
  if (field.options) {
    const option = [...field.options].find((item) => item.text === told);
    if (!option || option.selected) return;
    option.selected = true;
  } else if (told) field.value = told;
  else return;
  field.dispatchEvent(new Event(field.options ? "change" : "input", { bubbles: true }));
}

async function replaceContent() {
  const answer = await fetch(location.pathname, { cache: "no-store" });
  if (!answer.ok) return; // asked for again with the next news
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (window.Plotly) document.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
  zoo.curves = {}; // a run that was started again has another
  const kept = fields();
  document.getElementById("main").replaceWith(fresh.getElementById("main"));
  zoo.start();
  kept.forEach(restore);
  edition = fresh.documentElement.dataset.edition;
}

async function ask() {
  try {
    const news = await (await fetch(`${up}live.json`, { cache: "no-store" })).json();
    const replaced = String(news.edition) !== edition;
    if (replaced) await replaceContent();
    const changed = replaced || JSON.stringify(news.running) !== JSON.stringify(zoo.live || []);
    zoo.live = news.running;
    if (changed) {
      showRunning(news.running);
      dispatchEvent(new Event("zoo-live"));
    }
    notice(news.problem || "");
  } catch {
    edition = null; // another server may count from one again
    notice("The server does not answer: what is shown may be old. Start `zoo serve` again.");
  }
  setTimeout(ask, 2000);
}
ask();
