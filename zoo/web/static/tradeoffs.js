"use strict";

const NAMED = 20; // models on a front, below the chart
const spread = (values) => Math.max(...values) - Math.min(...values) || 1;

function startTradeoffs() {
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const form = document.getElementById("choice");
  const option = (value, text) => new Option(text, value);
  const charts = ["speed", "size"].map((kind) => ({ kind, axis: document.getElementById(`axis-${kind}`) }));
  for (const { kind, axis } of charts) {
    axis.replaceChildren(...data.axes.filter((item) => item.own === (kind === "size")).map((item) => option(item.key, item.title)));
  }

  function draw({ kind, axis }) {
    const table = data.tables[Number(form.elements.table.value)];
    const about = data.axes.find((item) => item.key === axis.value);
    const machine = about.own ? "all" : form.elements.machine.value;
    const front = table.fronts[about.key][machine] || [];
    const points = table.points
      .map((point, index) => ({ ...point, index }))
      .filter((point) => point[about.key] !== null && (about.own || point.machine === machine));
    // Of two points that lie close together one is named above and one below. A bar across strikes no name out.
    const spanX = spread(points.map((point) => point[about.key])), spanY = spread(points.map((point) => point.accuracy));
    const side = (point) => {
      const across = (other) => other.quartiles[about.key]?.[0] < point[about.key] && point[about.key] < other.quartiles[about.key][1];
      const close = points.filter((other) => other !== point && (across(other) || Math.abs(other[about.key] - point[about.key]) < 0.12 * spanX)
        && Math.abs(other.accuracy - point.accuracy) < 0.1 * spanY);
      const over = close.some((other) => other.accuracy > point.accuracy || (other.accuracy === point.accuracy && other.index < point.index));
      return !close.length && !point.quartiles[about.key] ? "middle right" : over ? "bottom right" : "top right";
    };
    const x = (list) => list.map((point) => point[about.key] * about.factor);
    const y = (list) => list.map((point) => 100 * point.accuracy);
    const disturbed = (point) => point.disturbed.includes(about.key);
    const best = front.map((index) => table.points[index]);
    const ringed = zoo.colour("text");
    const traces = [{
      x: x(best), y: y(best), mode: "lines+markers", hoverinfo: "skip", showlegend: false,
      line: { color: zoo.colour("muted"), width: 1.5, dash: "dot" },
      marker: { symbol: "circle-open", size: 20, color: ringed, line: { width: 1.5 } },
    }];
    for (const norm of [...new Set(points.map((point) => point.norm))].sort()) {
      const here = points.filter((point) => point.norm === norm);
      const look = data.looks[norm];
      const colour = zoo.colour(`c${look.colour}`);
      traces.push({
        x: x(here), y: y(here), name: zoo.plain(norm), showlegend: true, mode: points.length <= 12 ? "markers+text" : "markers",
        text: here.map((point) => `\u00a0\u00a0\u00a0${zoo.plain(point.model)}${point.marks}${disturbed(point) ? data.disturbed.mark : ""}`), textposition: here.map(side), textfont: { size: 12, color: zoo.colour("muted") },
        marker: { symbol: here.map((point) => look.symbol + (point.diverged || disturbed(point) ? "-open" : "")), size: 10, color: colour },
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
    // Room for the names at the right, and no axis of a hundredth of a point where all models are equally large.
    const values = [...x(points), ...points.flatMap((point) => (point.quartiles[about.key] || []).map((end) => end * about.factor))];
    const low = Math.min(...values), high = Math.max(...values);
    const width = high - low || 0.2 * (high || 1);
    const room = points.length <= 12 ? (matchMedia("(max-width: 600px)").matches ? 0.6 : 0.18) : 0.06;
    const range = [low - (high > low ? 0.06 : 0.5) * width, high + (high > low ? room : 0.5) * width];
    const id = `chart-${kind}`;
    const equal = high === low && points.length > 1;
    zoo.draw(id, traces, zoo.layout(zoo.plain(about.title), "test accuracy %", {
      xaxis: { range, nticks: 5 }, layout: { showlegend: true },
    }));
    const chart = document.getElementById(id);
    chart.setAttribute("aria-label", `Test accuracy against ${about.title} of ${points.length} models`);
    chart.removeAllListeners("plotly_click");
    chart.on("plotly_click", (event) => {
      const page = event.points[0].customdata;
      if (page) location.href = `runs/${page}.html`;
    });
    const named = best.slice(0, NAMED).map((point) => point.model).join(", ") || "none";
    const words = [`On the front: ${named}${best.length > NAMED ? ` and ${best.length - NAMED} more` : ""}.`];
    if (equal) words.push(`All ${points.length} are equal on this axis.`);
    if (table.missing) words.push(`Diverged, and not drawn: ${table.missing}.`);
    if (points.some(disturbed)) words.push(data.disturbed.note);
    words.push(...table.notes);
    if (!about.own) words.push(`Machine ${machine}: ${table.machines[machine]}.`);
    document.getElementById(`note-${kind}`).textContent = words.join(" ");
  }

  function fill() {
    const { machines } = data.tables[Number(form.elements.table.value)];
    form.elements.machine.replaceChildren(...Object.entries(machines).map(([letter, words]) => option(letter, `${letter}: ${words}`)));
    form.elements.machine.closest("label").hidden = Object.keys(machines).length < 2;
  }
  const all = () => charts.forEach(draw);
  form.elements.table.addEventListener("change", () => { fill(); all(); });
  form.elements.machine.addEventListener("change", all);
  charts.forEach((chart) => chart.axis.addEventListener("change", () => draw(chart)));
  addEventListener("zoo-theme", all, { signal: zoo.life.signal });
  fill();
  all();
}

zoo.started.push(startTradeoffs);
