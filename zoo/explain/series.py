"""Charts along an axis: learning curves by epoch, and norm layers in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.explain.layers import NormStatistics
from zoo.explain.sheets import Picture, chart
from zoo.explain.subject import Subject
from zoo.render.figures import COLOURS
from zoo.render.marks import SPLITS, better

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN = COLOURS[:3]
POINTS = 20  # epochs; of more, the curve has no markers
NAMED = 40  # layers; of more, only some names stand below the chart


def curves(subject: Subject, path: Path) -> Picture:
    """Loss, accuracy and learning rate by epoch, the selected epoch marked."""
    from matplotlib.ticker import MaxNLocator

    rows, selected = subject.history, subject.run.result.selection.epoch
    split = next((SPLITS[row.eval_split] for row in rows if row.eval_split), None)
    marker = "o" if len(rows) <= POINTS else ""

    def draw(axes: Axes, name: str, scale: float, colour: str, style: str, label: str | None) -> None:
        points = {row.epoch: scale * value for row in rows if (value := getattr(row, name)) is not None}
        axes.plot([*points], [*points.values()], style, color=colour, marker=marker, markersize=3, label=label)

    title = "Learning curves"
    layout = {"nrows": 3, "sharex": True, "height_ratios": [3, 3, 1.4]}
    with chart(path, title, subject.line, 6.4, 5.6, **layout) as (_, (loss, accuracy, rate)):
        for axes, name, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
            draw(axes, f"running_train_{name}", scale, BLUE, ":", "training batches")
            if split:
                draw(axes, f"eval_{name}", scale, BLUE, "-", split)
        draw(rate, "lr", 1, GREEN, "-", None)
        for axes, label in (
            (loss, f"loss (nats)\n{better(smaller=True)}"),
            (accuracy, f"accuracy (%)\n{better(smaller=False)}"),
            (rate, "learning rate"),
        ):
            axes.set_ylabel(label)
            axes.axvline(selected, color="#555555", linewidth=0.8, label="selected epoch")
        rate.set_ylim(bottom=0)
        rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        rate.set_xlabel("epoch")
        loss.legend(fontsize=8)
    last = rows[-1]
    running = f"{last.running_train_loss:.3f}, accuracy {100 * last.running_train_accuracy:.2f} %"
    end = f"Last epoch: running train loss {running}"
    if last.eval_loss is not None and last.eval_accuracy is not None:
        end += f"; {split} loss {last.eval_loss:.3f}, accuracy {100 * last.eval_accuracy:.2f} %"
    return Picture(
        title,
        f"{len(rows)} epochs on {subject.run.result.dataset.name}. Dotted: running means over the augmented training "
        "batches, so they can be worse than the solid line. "
        f"Vertical line: the weights are of {subject.chosen}. The learning rate is that of each epoch's last step. "
        f"{end}.",
        f"Loss, accuracy and learning rate over {len(rows)} epochs. {end}.",
    )


def norms(subject: Subject, path: Path, layers: Sequence[NormStatistics], images: int) -> Picture:
    """Output, dead channels and gradient at each norm layer, in the order of the forward pass."""
    places = range(len(layers))
    shares = {place: 100 * layer.dead for place, layer in enumerate(layers) if layer.dead is not None}
    missing = [place for place in places if place not in shares]
    title = "Norm layers: output, dead channels and gradient"
    layout = {"nrows": 3, "sharex": True, "height_ratios": [3, 2, 2]}
    width = max(6.4, 1.5 + 0.13 * min(len(layers), NAMED))
    with chart(path, title, subject.line, width, 6.4, **layout) as (_, (output, dead, gradient)):
        mean, spread = [layer.mean for layer in layers], [layer.spread for layer in layers]
        output.errorbar(places, mean, spread, fmt="o", markersize=3.5, color=BLUE, ecolor="#5f9fc8", elinewidth=3)
        output.axhline(0, color="#555555", linewidth=0.8)
        output.set_ylabel("output:\nmean ± deviation")
        dead.bar([*shares], [*shares.values()], 0.7, color=ORANGE)
        if missing:
            for place in missing:
                dead.text(place, 0, "–", ha="center", va="bottom", color="#555555")
        if not any(shares.values()):
            dead.text(0.5, 0.5, "none", ha="center", color="#555555", transform=dead.transAxes)
        dead.set_ylim(0, max([5, *(1.15 * share for share in shares.values())]))
        dead.set_ylabel("dead channels (%)")
        sizes = [layer.gradient for layer in layers]
        gradient.plot(places, sizes, "o-", markersize=3.5, color=GREEN, linewidth=1)
        if min(sizes) > 0:
            _log(gradient, min(sizes), max(sizes))
        gradient.set_ylabel("gradient norm")
        step = -(-len(layers) // NAMED)
        gradient.set_xticks(places[::step], [layer.name for layer in layers[::step]], rotation=90, fontsize=6.5)
        gradient.set_xlabel("norm layer, in the order of the forward pass")
        for axes in (output, dead, gradient):
            axes.set_axisbelow(True)
            axes.set_xlim(-0.7, len(layers) - 0.3)
    channels = sum(layers[place].channels for place in shares)
    gone = round(sum(share / 100 * layers[place].channels for place, share in shares.items()))
    dashes = " A dash: the output reaches no activation." if missing else ""
    return Picture(
        title,
        f"{subject.norm_label} in {len(layers)} places, on {images} test images of {subject.data.name}, in evaluation "
        "mode and fp32. Top: mean and standard deviation of the norm's output over images, channels and pixels. "
        "Middle: dead channels, which are nowhere above 0 in these images after the activation that the output reaches "
        f"(after the sum with the shortcut, for the last norm of a residual block): {gone:,} of {channels:,}.{dashes} "
        "Bottom: Euclidean norm of the gradient of an image's loss at the norm's output, root mean square over images. "
        "Confident, correct predictions have small gradients, so compare norms at similar accuracy.",
        f"Three charts over {len(layers)} norm layers: mean and spread of the output, dead channels ({gone:,} of "
        f"{channels:,}), gradient norm.",
    )


def _log(axes: Axes, low: float, high: float) -> None:
    """A logarithmic y axis of a decade at least, with its numbers written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    widen = max(1.25, (10 * low / high) ** 0.5)
    axes.set_yscale("log")
    axes.set_ylim(low / widen, high * widen)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
