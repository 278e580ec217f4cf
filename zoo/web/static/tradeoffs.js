"use strict";

const NAMED = 20; // models on a front, below the chart
const spread = (values) => Math.max(...values) - Math.min(...values) || 1;
const some = (names) => `${names.slice(0, NAMED).join(", ")}${names.length > NAMED ? ` and ${names.length - NAMED} more` : ""}`;

function startTradeoffs() {
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const form = document.getElementById("choice");
  const option = (value, text) => new Option(text, value);
  const charts = ["speed", "size"].map((kind) => ({ kind, axis: document.getElementById(`axis-${kind}`) }));
  const fields = { table: form.elements.table, machine: form.elements.machine, speed: charts[0].axis, size: charts[1].axis };
  const shown = () => data.tables.find((table) => table.id === fields.table.value);

  // Why a model is not drawn, by the reason.
  function leftOut(table, about, machine) {
    const without = table.points.filter((point) => point[about.key] === null);
    const elsewhere = table.points.filter((point) => point[about.key] !== null && !about.own && point.machine !== machine);
    return [
      ["Not drawn, diverged", table.missing], ["Not drawn, not measured on this axis", some(without.map((point) => point.model))],
      ["Not drawn here, measured on another machine", some(elsewhere.map((point) => point.model))],
    ].filter(([, names]) => names).map(([reason, names]) => `${reason}: ${names}.`);
  }

  function draw({ kind, axis }) {
    const table = shown();
    const about = data.axes.find((item) => item.key === axis.value);
    const chart = document.getElementById(`chart-${kind}`), note = document.getElementById(`note-${kind}`);
    const alike = kind === "size" ? Object.values(table.alike) : [];
    const machine = about?.own ? "all" : fields.machine.value;
    const points = table.points
      .map((point, index) => ({ ...point, index }))
      .filter((point) => about && point[about.key] !== null && (about.own || point.machine === machine));
    axis.closest("form").hidden = !about;
    for (const part of [chart, chart.parentElement.querySelector("details")]) part.hidden = !points.length;
    if (!points.length) {
      note.textContent = [...(about ? leftOut(table, about, machine) : []), ...alike].join(" ");
      return;
    }
    const front = table.fronts[about.key][machine] || [];
    // Of two points that lie close together one is named above and one below. A bar across strikes no name out, and a
    // long name at the right edge stands at the left of its point.
    const spanX = spread(points.map((point) => point[about.key])), spanY = spread(points.map((point) => point.accuracy));
    const side = (point) => {
      const struck = (other) => other.quartiles[about.key]?.[0] < point[about.key] && point[about.key] < other.quartiles[about.key][1];
      const close = points.filter((other) => other !== point && (struck(other) || Math.abs(other[about.key] - point[about.key]) < 0.12 * spanX)
        && Math.abs(other.accuracy - point.accuracy) < 0.1 * spanY);
      const over = close.some((other) => other.accuracy > point.accuracy || (other.accuracy === point.accuracy && other.index < point.index));
      const across = point.model.length > 14 && point[about.key] - Math.min(...points.map((other) => other[about.key])) > spanX / 2 ? "left" : "right";
      return `${!close.length && !point.quartiles[about.key] ? "middle" : over ? "bottom" : "top"} ${across}`;
    };
    const x = (list) => list.map((point) => point[about.key] * about.factor);
    const y = (list) => list.map((point) => 100 * point.accuracy);
    const disturbed = (point) => point.disturbed.includes(about.key);
    const best = front.map((index) => table.points[index]);
    const ringed = zoo.colour("text");
    const traces = [{
      x: x(best), y: y(best), mode: "lines+markers", hoverinfo: "skip", showlegend: false,
      line: { color: zoo.colour("muted"), width: 1.5, shape: about.smaller ? "hv" : "vh" }, // the most that is had at a cost
      marker: { symbol: "circle-open", size: 20, color: ringed, line: { width: 1.5 } },
    }];
    for (const norm of [...new Set(points.map((point) => point.norm))].sort()) {
      const here = points.filter((point) => point.norm === norm);
      const { colour, symbol } = zoo.look(data.looks[norm]);
      traces.push({
        x: x(here), y: y(here), name: zoo.plain(norm), showlegend: true, mode: points.length <= 12 ? "markers+text" : "markers",
        text: here.map((point) => `\u00a0\u00a0\u00a0${zoo.plain(point.model)}${point.marks}${disturbed(point) ? data.disturbed.mark : ""}\u00a0\u00a0\u00a0`), textposition: here.map(side), textfont: { size: 12, color: zoo.colour("muted") },
        marker: { symbol: here.map((point) => symbol + (point.diverged || disturbed(point) ? "-open" : "")), size: 10, color: colour },
        error_y: {
          type: "data", symmetric: false, color: colour, thickness: 1.2, width: 4,
          array: here.map((point) => 100 * (point.interval[1] - point.accuracy)),
          arrayminus: here.map((point) => 100 * (point.accuracy - point.interval[0])),
        },
        error_x: {
          type: "data", symmetric: false, color: colour, thickness: 1.2, width: 4, visible: here.some((point) => point.quartiles[about.key]),
          array: here.map((point) => about.factor * ((point.quartiles[about.key]?.[1] ?? point[about.key]) - point[about.key])),
          arrayminus: here.map((point) => about.factor * (point[about.key] - (point.quartiles[about.key]?.[0] ?? point[about.key]))),
        },
        customdata: here.map((point) => point.page),
        hovertext: here.map((point) => `${zoo.plain(point.model)}<br>${zoo.plain(point.text)} %<br>${zoo.plain(about.title)} ${point.texts[about.key]}${front.includes(point.index) ? "<br>on the front" : ""}`),
        hoverinfo: "text", cliponaxis: false,
      });
    }
    // Room for the names at the right, and no axis of a hundredth of a point where all models are equally fast.
    const values = [...x(points), ...points.flatMap((point) => (point.quartiles[about.key] || []).map((end) => end * about.factor))];
    const low = Math.min(...values), high = Math.max(...values);
    const width = high - low || 0.2 * (high || 1);
    const room = points.length <= 12 ? (matchMedia("(max-width: 600px)").matches ? 0.6 : 0.18) : 0.06;
    const range = [low - (high > low ? 0.06 : 0.5) * width, high + (high > low ? room : 0.5) * width];
    zoo.draw(chart.id, traces, zoo.layout(`${zoo.plain(about.title)}, ${zoo.better(about.smaller)}`, "test accuracy %, higher is better", {
      xaxis: { range, nticks: 5 }, layout: { showlegend: true },
    }));
    chart.setAttribute("aria-label", `Test accuracy against ${about.title} of ${points.length} models; the table below the chart has the values`);
    chart.removeAllListeners("plotly_click");
    chart.on("plotly_click", (event) => {
      const page = event.points[0].customdata;
      if (page && zoo.open) zoo.open(page);
      else if (page) location.href = `runs/${page}.html`;
    });
    list(chart.parentElement, points, about, (point) => [
      front.includes(point.index) && "on the front", point.diverged && "a seed diverged", disturbed(point) && "disturbed",
    ].filter(Boolean).join(", "));
    const words = [`On the front: ${some(best.map((point) => point.model)) || "none"}.`, ...leftOut(table, about, machine), ...alike];
    if (points.some(disturbed)) words.push(data.disturbed.note);
    words.push(...table.notes);
    if (!about.own) words.push(`Machine ${machine}: ${table.machines[machine]}.`);
    note.textContent = words.join(" ");
  }

  // The values of a chart as a table, for whoever has no pointer to hold over a point.
  function list(section, points, about, remark) {
    section.querySelector("details thead tr").replaceChildren(...["model", "test accuracy %", about.title, "remark"].map((title) => element("th", title, "", { scope: "col" })));
    section.querySelector("details tbody").replaceChildren(...points.map((point) => {
      const row = element("tr"), model = element("th", "", "model", { scope: "row" });
      model.append(element("a", point.model, "", { href: `runs/${point.page}.html` }));
      row.append(model, ...[point.text, point.texts[about.key], remark(point)].map((text) => element("td", text)));
      return row;
    }));
  }

  function fill() {
    const { machines, alike } = shown();
    fields.machine.replaceChildren(...Object.entries(machines).map(([letter, words]) => option(letter, `${letter}: ${words}`)));
    fields.machine.closest("label").hidden = Object.keys(machines).length < 2;
    for (const { kind, axis } of charts) {
      const before = axis.value;
      axis.replaceChildren(...data.axes.filter((item) => item.own === (kind === "size") && !(item.key in alike)).map((item) => option(item.key, item.title)));
      zoo.address.set(axis, before);
    }
  }
  const all = () => charts.forEach(draw);
  const keep = () => zoo.address.write(Object.entries(fields)
    .filter(([, field]) => field.value && field.value !== field.options[0].value).map(([name, field]) => [name, field.value]));
  function recall() {
    const wishes = zoo.address.read();
    zoo.address.set(fields.table, wishes.get("table"));
    fill();
    for (const name of ["machine", "speed", "size"]) zoo.address.set(fields[name], wishes.get(name));
    all();
  }
  fields.table.addEventListener("change", () => { fill(); all(); keep(); });
  fields.machine.addEventListener("change", () => { all(); keep(); });
  charts.forEach((chart) => chart.axis.addEventListener("change", () => { draw(chart); keep(); }));
  for (const part of document.querySelectorAll("form.filters")) part.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("zoo-theme", all, { signal: zoo.life.signal });
  zoo.address.follow(recall);
  recall();
}

zoo.started.push(startTradeoffs);
