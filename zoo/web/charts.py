"""What the charts draw, as plain data for JSON: fronts and positions are worked out here, not in the browser."""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from zoo.comparison.row import front
from zoo.render.columns import Column
from zoo.render.figures import looks
from zoo.render.marks import DISTURBED_MARK, DISTURBED_NOTE, disturbed_mark, mark_notes, marks_of
from zoo.results.history import COLUMNS, EpochRow
from zoo.utils.stats import ALIKE, alike
from zoo.utils.text import counted, listed
from zoo.web.cells import SUMMARY, percent, spread, text
from zoo.web.data import Line, Page, Table

AXES = [column for column in SUMMARY if column.key != "latency_p99"]
POINTS = 200  # of one chart: the most accurate, and as many more that are on a front
_OWN = ("parameters", "macs")  # of the model, whatever the machine


def script_json(value: Any) -> Markup:
    """`value` as JSON that may stand in a <script>: no byte of it ends the element or begins another.

    Raises ValueError for a figure that is no number.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def script_call(name: str, *arguments: Any) -> str:
    """A file for <script src>: a page opened from disk may not read JSON, but may run this."""
    return f"{name}({','.join(script_json(argument) for argument in arguments)});\n"


def tradeoffs(tables: Sequence[Table]) -> dict[str, Any]:
    """Accuracy against every axis, one set of points per table; speeds have a front for each machine alone."""
    axes = [
        {"key": axis.key, "title": axis.title, "factor": axis.factor, "smaller": axis.smaller, "own": axis.key in _OWN}
        for axis in AXES
    ]
    disturbed = {"mark": DISTURBED_MARK, "note": DISTURBED_NOTE}
    shown = [_points(table) for table in tables]
    return {"axes": axes, "looks": looks_of(tables), "disturbed": disturbed, "tables": shown}


def looks_of(tables: Sequence[Table]) -> dict[str, int]:
    """The number of each norm's look, see :func:`zoo.render.figures.looks`; the same in all charts of a page."""
    return looks(line.row.norm or "–" for table in tables for line in table.lines)


def _points(table: Table) -> dict[str, Any]:
    lines = [line for line in table.lines if line.row.accuracy is not None]
    best = lines[:POINTS]
    letters = dict.fromkeys(line.row.machine for line in best)
    fronts = {
        axis.key: {"all": _front(axis, lines)}
        if axis.key in _OWN
        else {letter: _front(axis, table.by_machine[letter]) for letter in letters}
        for axis in AXES
    }
    ringed = {id(line): line for by_machine in fronts.values() for front in by_machine.values() for line in front}
    shown = list(({id(line): line for line in best} | ringed).values())[: 2 * POINTS]
    places = {id(line): place for place, line in enumerate(shown)}

    def drawn(front: list[Line]) -> list[int]:
        return [places[id(line)] for line in front if id(line) in places]

    left_out = (
        f"Only the {POINTS} most accurate of {len(lines):,} models are drawn, and up to {POINTS} more on a front."
    )
    return {
        "id": table.id,
        "dataset": table.group.dataset,
        "recipe": table.slug,
        "notes": [left_out] * (len(lines) > POINTS) + mark_notes(*(line.row.caveats for line in lines)),
        "machines": {letter: words for letter, words in table.group.machines.items() if letter in letters},
        "points": [_point(line) for line in shown],
        "alike": {axis.key: sentence for axis in AXES if axis.key in _OWN and (sentence := _alike(axis, lines))},
        "missing": listed([line.row.model for line in table.lines if line.row.accuracy is None]),
        "fronts": {
            key: {letter: drawn(front) for letter, front in by_machine.items()} for key, by_machine in fronts.items()
        },
    }


def _point(line: Line) -> dict[str, Any]:
    row = line.row
    marks = marks_of(row.caveats)
    return {
        "model": row.model,
        "norm": row.norm or "–",
        "machine": row.machine,
        "accuracy": row.accuracy,
        "interval": row.interval,
        "marks": marks,
        "text": f"{percent(row.accuracy)}{marks} {spread(row.interval, row.interval_kind)}",
        "diverged": bool(row.diverged),
        "page": line.runs[0].id,
        **{axis.key: axis.value(row) for axis in AXES},
        "disturbed": row.disturbed,
        "quartiles": row.quartiles,
        "texts": {axis.key: text(axis, row) for axis in AXES},
    }


def _alike(axis: Column, lines: Sequence[Line]) -> str:
    """Why sizes that hardly differ are no axis of a chart; empty where they differ."""
    sizes = [line.row for line in sorted(lines, key=lambda line: axis.value(line.row) or 0)]
    if not alike([axis.value(row) or 0 for row in sizes]):
        return ""
    ends = dict.fromkeys(axis.text(row) for row in [*sizes[:1], *sizes[-1:]])
    how = f"differ by less than {100 * ALIKE:g} %" if len(ends) > 1 else "are equal"
    return f"No chart of {axis.title}, which {how} ({' to '.join(ends)}, {counted(len(sizes), 'model')})."


def _front(axis: Column, lines: Sequence[Line]) -> list[Line]:
    """Those of `lines` on the Pareto front of `axis`."""
    return [lines[place] for place in front([line.row for line in lines], axis.key, smaller=bool(axis.smaller))]


def curve(rows: Sequence[EpochRow]) -> dict[str, list[Any]]:
    """A history by column, `seconds` of training added up; what was not measured is null."""
    columns: dict[str, list[Any]] = {name: list(map(operator.attrgetter(name), rows)) for name in COLUMNS}
    total = itertools.accumulate(columns["train_seconds"])
    return columns | {"seconds": [round(seconds, 3) for seconds in total]}


def curve_list(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """What there is to choose from; the curves themselves are loaded when they are chosen."""
    return [
        {
            "id": run.id,
            "model": run.result.model.name,
            "norm": run.result.model.norm or "–",
            "seed": run.result.seed,
            "dataset": run.result.dataset.name,
            "accuracy": percent(run.result.test.accuracy) + marks_of(run.result.caveats)
            if run.result.test
            else "diverged",
            "table": table.id,
            "recipe": table.slug,
            "disturbed": disturbed_mark("train_images_per_second" in run.result.speed.disturbed),
        }
        for table in tables
        for run in table.runs
        if has_curve(run)
    ]


def without_curve(tables: Sequence[Table]) -> str:
    """The runs of which there is no curve, and why; empty where each has one."""
    names = [f"{run.result.model.name} seed {run.result.seed}" for table in tables for run in table.runs
             if not has_curve(run)]  # fmt: skip
    return f"Without a curve, since history.csv is not in the run's folder: {listed(names)}." if names else ""


def has_curve(page: Page) -> bool:
    """Whether a history lies beside the result."""
    return page.stored.folder.history.is_file()


def first_choice(tables: Sequence[Table], most: int = 5) -> list[str]:
    """What the curves page shows before anything is chosen: one run of each of the first table's best rows."""
    best = [next((run.id for run in line.runs if has_curve(run)), None) for table in tables[:1] for line in table.lines]
    return [name for name in best if name][:most]
