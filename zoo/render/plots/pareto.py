"""Accuracy against what it costs: training speed and parameters, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.comparison.groups import Group
from zoo.comparison.row import Row, front
from zoo.errors import Option, ResultError
from zoo.render.comparison import diverged_of
from zoo.render.marks import better, disturbed_mark, disturbed_notes, marked
from zoo.render.plots.sheet import about, check_rows, fitting, interval_words, labels, notes_of, sheet, styles
from zoo.utils.stats import ALIKE, alike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COSTS = ("speed", "parameters")
SPEED = "train_images_per_second"


def check(group: Group, costs: Sequence[str]) -> None:
    """Raises :class:`ResultError` where there is nothing to draw, or speeds would be of more than one machine.

    A seed on two machines also puts its model into two rows, so this is checked first.
    """
    rows = [row for row in group.rows if row.accuracy is not None]
    if not rows:
        raise ResultError(f"all runs of {group.dataset}, recipe {group.recipe} diverged: there is no accuracy to draw")
    if "speed" not in costs:
        return
    letters = sorted({row.machine for row in rows})
    if len(letters) > 1:
        machines = "; ".join(f"{letter}: {group.machines[letter]}" for letter in letters[:6])
        raise ResultError(
            f"speeds compare only on one machine, and these runs are of {len(letters)} ({machines}); "
            "name the folders of one, or leave speed out with ",
            Option("cost", "parameters"),
        )
    if missing := [row.model for row in rows if row.train_images_per_second is None]:
        raise ResultError(f"{missing[0]} has no training speed; leave speed out with ", Option("cost", "parameters"))


def draw(group: Group, costs: Sequence[str], columns: int, path: Path, near: str | None = None) -> str:
    """A panel for each of `costs` (of :data:`COSTS`), beside each other over two columns, else below each other.

    Of both costs, parameters that are :func:`zoo.utils.stats.alike` have no panel, and the heading says so.

    Gives what is left out, as :func:`zoo.render.plots.sheet.fitting` says it, which also takes `near`. Raises as that,
    :func:`check` and :func:`zoo.render.figures.figure` do.
    """
    check(group, costs)
    check_rows(group)
    best = [group.rows[place] for cost in costs for place in front_of(group.rows, cost)]
    group, choice = fitting(group, near, first=best, what="those on the Pareto front, and the best")
    rows = [row for row in group.rows if row.accuracy is not None]
    gone = [row.model for row in group.rows if row.accuracy is None]
    sizes = [row.parameters for row in rows]
    equal = len(costs) > 1 and alike(sizes)
    costs = [cost for cost in costs if cost != "parameters" or not equal]
    common, names = labels(rows)
    names = [f"{name} ({diverged_of(row)})" if row.diverged else name for name, row in zip(names, rows, strict=True)]
    disturbed = [row.model for row in rows if "speed" in costs and SPEED in row.disturbed]
    names = [name + disturbed_mark(row.model in disturbed) for name, row in zip(names, rows, strict=True)]
    hollow = ["a seed diverged"] * any(row.diverged for row in rows) + ["its speed is disturbed"] * bool(disturbed)
    heading = [
        about(group, common),
        choice,
        f"{interval_words(rows)}; ringed: Pareto front of the means",
        *([f"hollow: on no front, since {' or '.join(hollow)}"] if hollow else []),
        *([f"speed on {group.machines[rows[0].machine]}; across: its quartiles"] if "speed" in costs else []),
        *([f"no plot of parameters, which {_likeness(sizes)}"] if equal else []),
        *([f"not drawn, diverged: {', '.join(gone)}"] if gone else []),
        *disturbed_notes(disturbed),
        *notes_of(group.rows),
    ]
    beside = columns == 2 and len(costs) > 1
    body = 2.5 if columns == 2 else 1.9 * len(costs)
    with sheet(path, columns, body, heading, names) as (image, legend):
        shape = (1, len(costs)) if beside else (len(costs), 1)
        panels = image.subplots(*shape, sharey=True, squeeze=False).ravel()
        for axes, cost in zip(panels, costs, strict=True):
            handles = _panel(axes, rows, cost)
        for axes in panels[:1] if beside else panels:
            axes.set_ylabel(f"{marked('test accuracy (%)', group.selection)}\n{better(smaller=False)}")
        legend(handles)
    return choice


def front_of(rows: Sequence[Row], cost: str) -> list[int]:
    """The places of the `rows` on the Pareto front of one cost."""
    return front(rows, SPEED, smaller=False) if cost == "speed" else front(rows, "parameters", smaller=True)


def _panel(axes: Axes, rows: Sequence[Row], cost: str) -> list[Line2D]:
    """Draw the points of one cost; the handles are of the rows, in their order."""
    gains = [100 * (row.accuracy or 0.0) for row in rows]  # neither this nor a speed is None: see `check`
    speed = cost == "speed"
    costs = [row.train_images_per_second or 0.0 if speed else row.parameters / 1e6 for row in rows]
    axes.set_xlabel(f"{'train img/s' if speed else 'parameters (millions)'}, {better(smaller=not speed)}")
    spans = [row.quartiles.get(SPEED) if speed else None for row in rows]
    _scale(axes, [*costs, *(end for span in spans for end in span or ())])
    best = front_of(rows, cost)
    if len(best) > 1:  # the most that is had at a cost: to the right of a point by parameters, to its left by speed
        axes.step(
            [costs[i] for i in best], [gains[i] for i in best], where="pre" if speed else "post",
            color="#888888", linewidth=0.9, zorder=1,
        )  # fmt: skip
    handles: list[Line2D] = []
    for number, (row, place, gain, span, look) in enumerate(zip(rows, costs, gains, spans, styles(rows), strict=True)):
        low, high = row.interval or (0.0, 0.0)
        bars = [[gain - 100 * low], [100 * high - gain]]
        across = [[place - span[0]], [span[1] - place]] if span else None
        axes.errorbar(place, gain, bars, across, color=look["color"], linewidth=0.8, capsize=1.5)
        ranked = not row.diverged and not (speed and SPEED in row.disturbed)
        fill = look["color"] if ranked else "white"
        if number in best:
            axes.plot([place], [gain], "o", color="#555555", markersize=9, markerfacecolor="none", markeredgewidth=0.8)
        axes.plot([place], [gain], color=look["color"], marker=look["marker"], markerfacecolor=fill, linestyle="")
        handles += axes.plot([], [], color=look["color"], marker=look["marker"], linestyle="")
    return handles


def _likeness(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"are equal ({low:,})" if low == high else f"differ by less than {100 * ALIKE:g} % ({low:,} to {high:,})"


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
