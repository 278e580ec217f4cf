"use strict";

async function startRun() {
  const place = document.getElementById("chart-accuracy");
  const columns = await zoo.load(place.dataset.run, "../data").catch(() => null);
  if (!columns) {
    place.textContent = `Not to be loaded: data/${place.dataset.run}.js. Is the report's folder whole?`;
    return;
  }
  const trace = (key, factor, dash, colour) => ({
    x: columns.epoch, y: columns[key].map((value) => (value === null ? null : value * factor)), mode: columns.epoch.length < 3 ? "lines+markers" : "lines",
    line: { dash, width: 2, color: zoo.colour(colour) }, name: key.startsWith("eval") ? zoo.plain(columns.eval_split.find(Boolean) || "selection") : "training",
    hovertemplate: "%{fullData.name}, epoch %{x}: %{y:.4~f}<extra></extra>",
  });
  const draw = () => {
    for (const [kind, factor, unit] of [["accuracy", 100, "accuracy %"], ["loss", 1, "loss, nats"]]) {
      const traces = [trace(`eval_${kind}`, factor, "solid", "c0"), trace(`running_train_${kind}`, factor, "dash", "c1")];
      zoo.draw(`chart-${kind}`, traces, zoo.layout("epoch", unit, { xaxis: zoo.epochs(columns.epoch.length), layout: { showlegend: true } }));
    }
    place.dataset.drawn = "2";
  };
  addEventListener("zoo-theme", draw, { signal: zoo.life.signal });
  draw();
}

zoo.started.push(startRun);
