"use strict";
// Only in a served page: asks for news every two seconds. Runs at work are shown as they go; when a run is done, the
// server has built the page anew and its content is fetched, in place of the old; sort and filters are in the address.

const up = document.querySelector("script[src$='static/live.js']").getAttribute("src").replace("static/live.js", "");
let edition = document.documentElement.dataset.edition; // of what is shown
let shown = ""; // of unfinished runs

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

function showUnfinished(news) {
  for (const kind of ["running", "stopped"]) {
    const section = document.getElementById(kind);
    if (!section) return;
    const runs = news[kind], more = section.querySelector(".more");
    section.hidden = runs.length === 0;
    section.querySelector("tbody").replaceChildren(...runs.map(rowOf));
    more.hidden = news.counts[kind] <= runs.length;
    more.textContent = `The newest ${runs.length} of ${grouped(news.counts[kind])}.`;
  }
  const line = document.getElementById("unfinished");
  const { running, stopped } = news.counts;
  line.hidden = !running && !stopped;
  line.replaceChildren(...[["running", `${grouped(running)} in progress`], ["stopped", `${grouped(stopped)} stopped`]]
    .filter(([kind]) => news.counts[kind]).flatMap(([kind, text], place) => [place ? ", " : "", element("a", text, "", { href: `#${kind}` })]), ".");
}

function rowOf(run) {
  const row = document.createElement("tr");
  const model = element("th", "", "model", { scope: "row" });
  model.append(element("a", run.model, "", { href: `curves.html?runs=${run.id}` }), element("span", run.state, "label"));
  const curve = element("td");
  if (run.epoch > 1) curve.append(sparkline(run.curve));
  row.dataset.run = run.id;
  row.append(model, element("td", `${run.dataset}, ${run.recipe}`), element("td", run.seed, "number"),
    element("td", run.epochs ? `${run.epoch} / ${run.epochs}` : run.epoch, "number epoch"),
    element("td", run.accuracy === null ? "–" : (100 * run.accuracy).toFixed(2), "number"), curve);
  return row;
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

// The field that a reader is at; what was chosen stands in the address.
function focused() {
  const field = document.activeElement?.closest("#main :is(select, input[type=search])");
  if (!field) return "";
  return field.id ? `#${field.id}` : `#${field.form.id} [name="${field.name}"]`;
}

async function replaceContent() {
  const answer = await fetch(location.pathname, { cache: "no-store" });
  if (!answer.ok) return; // asked for again with the next news
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (window.Plotly) document.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
  zoo.curves = {}; // a run that was started again has another
  const field = focused();
  document.getElementById("main").replaceWith(fresh.getElementById("main"));
  zoo.start();
  if (field) document.querySelector(field)?.focus();
  edition = fresh.documentElement.dataset.edition;
}

const newest = (news) => [...news.running, ...news.stopped];

async function ask() {
  try {
    const news = await (await fetch(`${up}live.json`, { cache: "no-store" })).json();
    const replaced = String(news.edition) !== edition;
    if (replaced) {
      await replaceContent();
      if (edition === "any") edition = String(news.edition); // the page of a run is of no edition
    }
    const changed = replaced || JSON.stringify([newest(news), news.counts]) !== shown;
    shown = JSON.stringify([newest(news), news.counts]);
    for (const run of newest(news)) if (run.epoch !== zoo.live?.find((other) => other.id === run.id)?.epoch) delete zoo.curves[run.id];
    zoo.live = newest(news);
    if (changed) {
      showUnfinished(news);
      dispatchEvent(new Event("zoo-live"));
    }
    notice(news.problem || "");
  } catch {
    edition = null; // another server may count from one again
    notice("The server does not respond, so this page may be out of date. Start `zoo serve` again.");
  }
  setTimeout(ask, 2000);
}
ask();
