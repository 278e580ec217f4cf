"use strict";
// What the charts share: colours of the theme, one layout, loading a curve by a script.

zoo.colour = (name) => {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};
zoo.dashes = ["solid", "dash", "dashdot", "longdash", "longdashdot"]; // dotted are training batches
// Plotly reads tags and entities in a text as markup.
zoo.plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

zoo.layout = (x, y, more = {}) => {
  const axis = {
    gridcolor: zoo.colour("line"), linecolor: zoo.colour("edge"), zeroline: false, automargin: true,
    tickfont: { color: zoo.colour("muted") }, ticks: "", nticks: 7, exponentformat: "none", separatethousands: true,
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", showlegend: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: zoo.colour("text") },
    margin: { l: 12, r: 16, t: 12, b: 12 },
    xaxis: { ...axis, showgrid: false, showline: true, title: { text: x, standoff: 10, font: { size: 13 } }, ...more.xaxis },
    yaxis: { ...axis, title: { text: y, standoff: 10, font: { size: 13 } }, ...more.yaxis },
    hoverlabel: { bgcolor: zoo.colour("raised"), bordercolor: zoo.colour("edge"), font: { color: zoo.colour("text"), size: 13 }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
    ...more.layout,
  };
};
zoo.better = (smaller) => (smaller ? "lower is better" : "higher is better");
// A duration as zoo.utils.text has it.
zoo.duration = (seconds) => {
  const whole = Math.round(seconds), two = (number) => String(number).padStart(2, "0");
  return whole < 60 ? `${seconds < 9.95 && !Number.isInteger(seconds) ? seconds.toFixed(1) : whole} s` : `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
// An axis of durations, at most about eight of them.
zoo.durations = (most) => {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400];
  const step = steps.find((seconds) => most / seconds <= 8) ?? 86400 * Math.ceil(most / 8 / 86400);
  const tickvals = Array.from({ length: Math.floor(most / step) + 1 }, (_, number) => number * step);
  return { rangemode: "tozero", tickvals, ticktext: tickvals.map(zoo.duration) };
};
// The look of a norm, as in the plots of `zoo plot`.
zoo.look = (number) => ({ colour: zoo.colour(`c${number % 7}`), symbol: zoo.symbols[number % zoo.symbols.length] });
zoo.symbols = ["circle", "square", "diamond", "triangle-up", "triangle-down", "triangle-left", "triangle-right", "pentagon"];
// Whole epochs, at most about eight of them.
zoo.epochs = (most) => ({ tickformat: "d", dtick: Math.max(1, Math.ceil(most / 8)), tick0: most > 16 ? 0 : 1 });
zoo.draw = (id, traces, layout) =>
  Plotly.react(id, traces, layout, { displayModeBar: false, responsive: true, displaylogo: false, showTips: false });

zoo.load = (id, folder = "data") => new Promise((resolve, reject) => {
  if (zoo.curves[id]) { resolve(zoo.curves[id]); return; }
  (zoo.wanted[id] ||= []).push(resolve);
  if (zoo.wanted[id].length > 1) return;
  const script = document.createElement("script");
  script.src = `${folder}/${encodeURIComponent(id)}.js`;
  script.onerror = () => { delete zoo.wanted[id]; reject(new Error(id)); };
  document.head.append(script);
});
