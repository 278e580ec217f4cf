"use strict";
// A colour is a norm's. Of the chosen runs of one colour each has other dashes, and so do the two blues.

const MOST = 200; // rows of the list; the search finds the others
let picked = []; // ids, in the order of choice
let turn = 0; // of drawing: a choice that loads for long must not be drawn over a later one

function startCurves() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = new Map(data.runs.map((run) => [run.id, run]));
  const form = document.getElementById("choice");
  const list = document.getElementById("runs");
  const find = document.getElementById("find");
  const live = () => zoo.live || [];
  const about = (id) => runs.get(id) || live().find((run) => run.id === id);
  const look = (id) => {
    const colour = (other) => (data.looks[about(other)?.norm] ?? 6) % 7; // black: not known before the run is done
    const place = picked.filter((other) => colour(other) % 5 === colour(id) % 5).indexOf(id);
    return { colour: zoo.look(colour(id)).colour, dash: zoo.dashes[place % zoo.dashes.length] };
  };
  const fields = { figure: form.elements.figure, against: form.elements.against, find };
  const better = { eval_accuracy: false, running_train_accuracy: false, eval_loss: true, running_train_loss: true, train_images_per_second: false };

  function swatch(id) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    svg.setAttribute("viewBox", "0 0 28 8");
    svg.setAttribute("aria-hidden", "true");
    const { colour, dash } = look(id);
    const lengths = { solid: "", dash: "7 4", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3" };
    for (const [key, value] of Object.entries({ x1: 0, x2: 28, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": lengths[dash] })) line.setAttribute(key, value);
    svg.append(line);
    return svg;
  }

  function showList() {
    const text = find.value.trim().toLowerCase();
    const focused = document.activeElement?.dataset?.run;
    const all = [...live(), ...data.runs];
    const fits = all.filter((run) => `${run.model} ${run.norm} ${run.dataset} ${run.recipe} seed ${run.seed}`.toLowerCase().includes(text));
    const first = fits.filter((run) => picked.includes(run.id));
    const shown = [...first, ...fits.filter((run) => !picked.includes(run.id))].slice(0, MOST);
    list.replaceChildren(...shown.map((run) => {
      const item = document.createElement("li");
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: picked.includes(run.id) });
      box.dataset.run = run.id;
      box.addEventListener("change", () => choose(box.checked ? [...picked, run.id] : picked.filter((id) => id !== run.id)));
      const name = Object.assign(document.createElement("span"), { className: "name", textContent: `${run.model} seed ${run.seed}` });
      const where = Object.assign(document.createElement("span"), { className: "label", textContent: `${run.dataset}, ${run.recipe}${run.epoch !== undefined ? `, epoch ${run.epoch}` : ""}` });
      name.append(where);
      label.append(box, name);
      if (box.checked) label.append(swatch(run.id));
      item.append(label);
      return item;
    }));
    if (focused) list.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
    const more = document.getElementById("more");
    more.hidden = fits.length <= shown.length;
    more.textContent = `${fits.length - shown.length} more: search for them.`;
  }

  async function draw() {
    const figure = form.elements.figure.value, against = form.elements.against.value;
    const factor = figure.endsWith("accuracy") ? 100 : 1;
    const wanted = picked.filter(about);
    const mine = (turn += 1);
    const loaded = await Promise.all(wanted.map((id) => zoo.load(id).catch(() => null)));
    if (mine !== turn) return;
    // What of a drawing rests on speeds bears their mark.
    const timed = against === "seconds" || figure === "train_images_per_second";
    document.getElementById("disturbed").hidden = !(timed && wanted.some((id) => about(id).disturbed));
    const lost = wanted.filter((id, place) => !loaded[place]);
    const notLoaded = document.getElementById("lost");
    notLoaded.hidden = lost.length === 0;
    notLoaded.textContent = `Cannot be loaded: ${lost.map((id) => `data/${id}.js`).join(", ")}. Is the folder of the report complete?`;
    const traces = wanted.flatMap((id, place) => {
      const columns = loaded[place];
      if (!columns) return [];
      const { colour, dash } = look(id);
      const run = about(id);
      return [{
        x: columns[against], y: columns[figure].map((value) => (value === null ? null : value * factor)),
        name: zoo.plain(`${run.model} seed ${run.seed}${timed ? run.disturbed || "" : ""}`), mode: columns.epoch.length < 3 ? "lines+markers" : "lines",
        line: { color: colour, width: 2, dash }, marker: { color: colour },
        text: columns[against].map((x) => (against === "epoch" ? `epoch ${x}` : zoo.duration(x))),
        hovertemplate: "%{fullData.name}<br>%{text}: %{y:.4~f}<extra></extra>",
      }];
    });
    const title = fields.figure.selectedOptions[0].text.replace(",", factor === 100 ? " %," : ",");
    const y = figure in better ? `${title}<br>${zoo.better(better[figure])}` : title;
    zoo.draw("chart", traces, zoo.layout(against === "epoch" ? "epoch" : "training time", y, {
      xaxis: against === "epoch" ? zoo.epochs(Math.max(1, ...traces.map((trace) => trace.x.length))) : zoo.durations(Math.max(1, ...traces.map((trace) => trace.x.at(-1)))),
      layout: { annotations: traces.length ? [] : [{ text: "Choose runs from the list.", showarrow: false, font: { size: 14, color: zoo.colour("muted") } }] },
    }));
    document.getElementById("chart").dataset.drawn = String(traces.length);
  }

  function choose(ids) {
    picked = [...new Set(ids)];
    keep();
    showList();
    draw();
  }

  function keep(step) {
    const chosen = Object.entries(fields).filter(([, field]) => field.value && field.value !== field.options?.[0].value);
    const first = picked.join() === data.first.join();
    zoo.address.write([...(first ? [] : [["runs", picked.join(",")]]), ...chosen.map(([name, field]) => [name, field.value])], step);
  }
  function recall() {
    const wishes = zoo.address.read();
    Object.entries(fields).forEach(([name, field]) => zoo.address.set(field, wishes.get(name)));
    picked = wishes.get("runs")?.split(",").filter(Boolean) ?? data.first;
    showList();
    draw();
  }

  form.addEventListener("change", () => { draw(); keep(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", () => { showList(); keep("find"); });
  document.getElementById("none").addEventListener("click", () => choose([]));
  for (const news of ["zoo-theme", "zoo-live"]) {
    addEventListener(news, () => { showList(); draw(); }, { signal: zoo.life.signal });
  }
  zoo.address.follow(recall);
  recall();
}

zoo.started.push(startCurves);
