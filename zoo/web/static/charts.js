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
zoo.dashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
// Plotly reads tags and entities in a text as markup.
zoo.plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

zoo.layout = (x, y, more = {}) => {
  const axis = {
    gridcolor: zoo.colour("line"), linecolor: zoo.colour("line"), zeroline: false, automargin: true,
    tickfont: { color: zoo.colour("muted") }, ticks: "", nticks: 7, exponentformat: "none", separatethousands: true,
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", showlegend: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: zoo.colour("text") },
    margin: { l: 12, r: 16, t: 12, b: 12 },
    xaxis: { ...axis, showgrid: false, showline: true, title: { text: x, standoff: 10, font: { size: 13 } }, ...more.xaxis },
    yaxis: { ...axis, title: { text: y, standoff: 10, font: { size: 13 } }, ...more.yaxis },
    hoverlabel: { bgcolor: zoo.colour("raised"), bordercolor: zoo.colour("line"), font: { color: zoo.colour("text"), size: 13 }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
    ...more.layout,
  };
};
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
