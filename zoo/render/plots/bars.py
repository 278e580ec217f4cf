"""Accuracy per model as bars with 95 % intervals, best first."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.render.columns import accuracy_of
from zoo.render.marks import better, marked
from zoo.render.plots.sheet import (
    WIDTHS,
    about,
    check_rows,
    fitting,
    inches_of,
    interval_words,
    labels,
    notes_of,
    sheet,
    wrapped,
)

SIZE = 7  # points, of the text above a bar
SPACE = 0.2  # inches, between a name, its figure and the edges
BAR = 0.11  # inches
BARS = 60  # of one plot: more than a page of paper holds
GREY = "#8c9299"  # a colour is a norm's


def draw(group: Group, columns: int, path: Path, near: str | None = None) -> str:
    """Horizontal bars of test accuracy in the order of the table, above each its name and its figure.

    What diverged says so. An axis that does not start at 0 says so in its label. `columns`: 1 or 2 of a paper. Gives
    what is left out, as :func:`zoo.render.plots.sheet.fitting` says it, which also takes `near`. Raises as that and
    :func:`zoo.render.figures.figure` do.
    """
    check_rows(group)
    group, choice = fitting(group, near, BARS)
    common, names = labels(group.rows)
    names = [
        wrapped(name, WIDTHS[columns] - inches_of(beside(row), SIZE) - SPACE, size=SIZE)
        for name, row in zip(names, group.rows, strict=True)
    ]
    start, end = limits(group.rows)
    heading = [about(group, common), choice, interval_words(group.rows), *notes_of(group.rows)]
    heights = [BAR + 0.1 + 0.13 * (name.count("\n") + 1) for name in names]
    with sheet(path, columns, 0.65 + sum(heights), heading) as (image, _):
        axes = image.subplots()
        right, top = axes.get_yaxis_transform(), 0.0
        for row, name, height in zip(group.rows, names, heights, strict=True):
            place = top + height - BAR / 2
            for edge, text, side in ((0.005, name, "left"), (0.995, beside(row), "right")):
                axes.text(edge, place - BAR * 0.75, text, transform=right, fontsize=SIZE, va="bottom", ha=side)
            top += height
            if row.accuracy is None or row.interval is None:
                continue
            mean, low, high = (100 * share for share in (row.accuracy, *row.interval))
            axes.barh(place, mean - start, BAR, left=start, color=GREY)
            axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color="black", capsize=2, linewidth=0.9)
        axes.set_yticks([])
        axes.set_ylim(top + 0.06, 0)
        axes.set_xlim(start, min(100, end + 0.03 * (end - start)))
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
        words = f"{marked('test accuracy (%)', group.selection)}, {better(smaller=False)}"
        axes.set_xlabel(words if start == 0 else f"{words}\nthe axis starts at {start:g}, not at 0")
    return choice


def limits(rows: list[Row]) -> tuple[float, float]:
    """Where the bars start and where the widest interval ends, in percent.

    0 where that leaves the intervals legible; else a round number, so far to the left of the lowest interval that
    the shortest bar is about half as long as the longest or more.
    """
    intervals = [row.interval for row in rows if row.interval is not None]
    if not intervals:
        return 0.0, 100.0
    low, end = 100 * min(low for low, _ in intervals), 100 * max(high for _, high in intervals)
    start = low - max(end - low, 1.0)
    if start < 0.5 * end:
        return 0.0, end
    step = next(step for step in (10, 5, 2, 1, 0.5) if step <= max(end - start, 0.5) / 2 or step == 0.5)
    return math.floor(start / step) * step, end


def beside(row: Row) -> str:
    """The figure beside a bar: as tables have it, but with several diverged seeds counted."""
    if len(row.diverged) < 2:
        return accuracy_of(row)
    gone = f"{len(row.diverged)} of {len(row.seeds)} seeds diverged"
    return gone if row.accuracy is None else f"{accuracy_of(replace(row, diverged={}))} ({gone})"
