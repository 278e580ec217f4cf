"use strict";

async function startRun() {
  const place = document.getElementById("chart-accuracy");
  const columns = await zoo.load(place.dataset.run, "../data").catch(() => null);
  if (!columns) {
    place.textContent = `data/${place.dataset.run}.js cannot be loaded. Is the folder of the report complete?`;
    return;
  }
  const trace = (key, factor, dash) => ({
    x: columns.epoch, y: columns[key].map((value) => (value === null ? null : value * factor)), mode: columns.epoch.length < 3 ? "lines+markers" : "lines",
    line: { dash, width: 2, color: zoo.look(Number(place.dataset.look)).colour }, name: key.startsWith("eval") ? place.dataset.split : "training batches",
    hovertemplate: "%{fullData.name}, epoch %{x}: %{y:.4~f}<extra></extra>",
  });
  const draw = () => {
    for (const [kind, factor, unit] of [["accuracy", 100, "accuracy %, higher is better"], ["loss", 1, "loss in nats, lower is better"]]) {
      const traces = [trace(`eval_${kind}`, factor, "solid"), trace(`running_train_${kind}`, factor, "dot")];
      zoo.draw(`chart-${kind}`, traces, zoo.layout("epoch", unit, { xaxis: zoo.epochs(columns.epoch.length), layout: { showlegend: true } }));
    }
    place.dataset.drawn = "2";
  };
  addEventListener("zoo-theme", draw, { signal: zoo.life.signal });
  draw();
}

zoo.started.push(startRun);
