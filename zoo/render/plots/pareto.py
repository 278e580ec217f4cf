"""Accuracy against what it costs: training speed and parameters, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.errors import ResultError
from zoo.render.comparison import diverged_of
from zoo.render.plots.sheet import about, check_rows, interval_words, labels, marked, sheet, style, warnings_of
from zoo.utils.stats import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS = ("speed", "parameters")


def check(group: Group, costs: Sequence[str]) -> None:
    """Raises :class:`ResultError` where there is nothing to draw, or speeds would be of more than one machine.

    A seed on two machines also puts its model into two rows, so this is what is told first.
    """
    known = [row for row in group.rows if row.accuracy is not None]
    if not known:
        raise ResultError(f"all runs of {group.dataset}, recipe {group.recipe} diverged: there is no accuracy to draw")
    if "speed" not in costs:
        return
    letters = sorted({row.machine for row in known})
    if len(letters) > 1:
        told = "; ".join(f"{letter}: {group.machines[letter]}" for letter in letters)
        raise ResultError(
            f"speeds compare only on one machine, and these runs are of {len(letters)} ({told}); "
            "name the folders of one, or leave speed out with --cost parameters"
        )
    if missing := [row.model for row in known if row.train_images_per_second is None]:
        raise ResultError(f"{missing[0]} has no training speed; leave speed out with --cost parameters")


def draw(group: Group, costs: Sequence[str], columns: int, path: Path) -> None:
    """A panel for each of `costs` (of :data:`COSTS`), beside each other over two columns, else below each other.

    Raises as :func:`check` and :func:`zoo.render.figures.figure` do.
    """
    check(group, costs)
    check_rows(group)
    rows = [row for row in group.rows if row.accuracy is not None]
    gone = [row.model for row in group.rows if row.accuracy is None]
    common, names = labels(rows)
    names = [f"{name} ({diverged_of(row)})" if row.diverged else name for name, row in zip(names, rows, strict=True)]
    apart = " of the models of which no seed diverged" if any(row.diverged for row in rows) else ""
    heading = [
        about(group, common),
        f"{interval_words(rows)}; filled: Pareto front of the means{apart}",
        *([f"speed on {group.machines[rows[0].machine]}"] if "speed" in costs else []),
        *([f"diverged, not shown: {', '.join(gone)}"] if gone else []),
        *warnings_of(group),
    ]
    beside = columns == 2 and len(costs) > 1
    body = 2.5 if beside or columns == 2 else 1.9 * len(costs)
    with sheet(path, columns, body, heading, names) as (made, legend):
        shape = (1, len(costs)) if beside else (len(costs), 1)
        panels = made.subplots(*shape, sharey=True, squeeze=False).ravel()
        for axes, cost in zip(panels, costs, strict=True):
            handles = _panel(axes, rows, cost)
        for axes in panels[:1] if beside else panels:
            axes.set_ylabel(marked("test accuracy (%)", group))
        legend(handles)


def _panel(axes: Axes, rows: Sequence[Row], cost: str) -> list[object]:
    """Draw the points of one cost; the handles are of the rows, in their order."""
    gains = [100 * row.accuracy for row in rows]
    speed = cost == "speed"
    values = [row.train_images_per_second if speed else row.parameters / 1e6 for row in rows]
    axes.set_xlabel("train img/s (more is better)" if speed else "parameters (millions, fewer is better)")
    _scale(axes, values)
    # A row of which a seed diverged is on no front: its mean is of the seeds that went well.
    points = [None if row.diverged else point for row, point in zip(rows, zip(values, gains, strict=True), strict=True)]
    best = pareto_front(points, smaller=not speed)
    if len(best) > 1:  # the most that is had at a cost: to the right of a point by parameters, to its left by speed
        axes.step(
            [values[i] for i in best], [gains[i] for i in best], where="pre" if speed else "post",
            color="#888888", linewidth=0.9, zorder=1,
        )  # fmt: skip
    handles = []
    for number, (row, value, gain) in enumerate(zip(rows, values, gains, strict=True)):
        look = style(number)
        low, high = (100 * bound for bound in row.interval)
        axes.errorbar(value, gain, [[gain - low], [high - gain]], color=look["color"], linewidth=0.8, capsize=1.5)
        fill = look["color"] if number in best else "white"
        axes.plot([value], [gain], color=look["color"], marker=look["marker"], markerfacecolor=fill, linestyle="")
        handles += axes.plot([], [], color=look["color"], marker=look["marker"], linestyle="")
    return handles


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the largest is five times the smallest or more; room for a single value."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(values), max(values)
    if low == high:
        axes.set_xlim(0.98 * low, 1.02 * low)
        axes.xaxis.set_major_locator(FixedLocator([float(f"{low:.4g}")]))
    elif high >= 5 * low > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low / 1.25, high * 1.25)
    else:
        room = 0.08 * (high - low)
        axes.set_xlim(low - room, high + room)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
