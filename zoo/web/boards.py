"""The tables of the page as data: a template writes the first rows, the page's script makes any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from zoo.comparison.row import Row
from zoo.render import differences, marks
from zoo.render.code import code_of
from zoo.render.columns import Column
from zoo.render.comparison import ELSEWHERE, speed_notes
from zoo.utils.text import counted
from zoo.web import cells
from zoo.web.data import Line, Table

# What a page holds before a reader asks for more: rows, of each table at least so many, and tables; tables in the list
# on top, choices of a filter, links to the seeds of a row, machines below a table, characters of a note.
ROWS, FEWEST, TABLES, LISTED, CHOICES, SEEDS, MACHINES, LETTERS = 200, 5, 20, 12, 200, 10, 20, 1500


class Head(NamedTuple):
    """A column. `first`: in which direction a sort begins. `view`: the choice of columns that it belongs to."""

    key: str
    title: str
    kind: str = "number"
    first: str = "descending"
    hint: str = ""
    view: str = ""


class Cell(NamedTuple):
    """`value` is what a column is sorted by, None comes last; `more` what stands beside the text."""

    value: float | str | None
    text: str
    more: Mapping[str, Any] = MappingProxyType({})

    def compact(self) -> str | list[Any]:
        """The cell for JSON: without what follows from the rest."""
        if self.more:
            return [self.value, self.text, self.more]
        return self.text if self.value is None else [self.value] if self.value == self.text else [self.value, self.text]


@dataclass(frozen=True)
class Board:
    """A table of the page. `name` is the recipe's, `apart` tells it from the others of that name."""

    id: str
    dataset: str
    recipe: str
    apart: str
    facts: str
    heads: list[Head]
    rows: list[list[Cell]]
    architectures: list[str]
    notes: list[str] = field(default_factory=list)


def boards_json(boards: Sequence[Board], prefix: str) -> dict[str, Any]:
    """`boards` for the page's script, equal heads once."""
    heads: dict[tuple[Head, ...], int] = {}
    listed = [
        {
            "id": board.id, "dataset": board.dataset, "recipe": board.recipe, "apart": board.apart,
            "facts": board.facts, "heads": heads.setdefault(tuple(board.heads), len(heads)), "notes": board.notes,
            "architectures": board.architectures, "rows": [[cell.compact() for cell in row] for row in board.rows],
        }
        for board in boards
    ]  # fmt: skip
    most = {"rows": ROWS, "fewest": FEWEST, "tables": TABLES}
    return {
        "name": prefix, "most": most, "hints": marks.HINTS, "elsewhere": ELSEWHERE,
        "heads": [[head._asdict() for head in row] for row in heads], "boards": listed,
    }  # fmt: skip


def shares(counts: Sequence[int]) -> list[int]:
    """How many rows of each table are shown: all of a small one, and the same of larger ones."""
    left, shown = ROWS, [0] * len(counts)
    for place, number in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
        shown[number] = min(counts[number], max(FEWEST, left // (len(counts) - place)))
        left -= shown[number]
    return shown


def leaderboard(table: Table) -> Board:
    """The table of accuracies, costs and qualities."""
    group, content = table.group, table.content
    facts = [
        group.precision, group.chosen, *([f"{content['epochs']} epochs"] if content.get("epochs") else []),
        *([f"batch {content['batch_size']}"] if content.get("batch_size") else []),
        f"{counted(len(table.lines), 'model')}, {counted(len(table.runs), 'run')}",
    ]  # fmt: skip
    summary, quality = cells.with_relative(cells.SUMMARY, table.compared), cells.QUALITY_OF_ROWS
    columns = [(column, "summary") for column in summary] + [(column, "quality") for column in quality]
    versions, balance = len(group.code) > 1, cells.balance(group.rows)
    heads = [
        Head("model", "model", "model", "ascending"),
        Head("norm", "norm", "norm", "ascending"),
        Head("accuracy", "test accuracy %", "number accuracy", hint=_ACCURACY),
        *_COMPARED * table.compared,
        *map(_head, balance),
        Head("seeds", "seeds", "seeds"),
        *(_head(column, view) for column, view in columns),
        *[Head("machine", "machine", "", "ascending")] * table.parted,
        *[Head("code", "code", "", "ascending")] * versions,
    ]

    def cells_of(line: Line) -> list[Cell]:
        row = line.row
        return [
            *_named(line),
            _accuracy(line),
            *(_difference(row) if table.compared else ()),
            *(Cell(column.value(row), cells.text(column, row)) for column in balance),
            _seeds(line),
            *(Cell(row.ranked(column.key), cells.text(column, row)) for column, _ in columns),
            *[Cell(row.machine, row.machine, {"elsewhere": True} if row.elsewhere else {})] * table.parted,
            *([Cell(code_of(row), code_of(row))] if versions else ()),
        ]

    notes = cells.notes(group)
    machines = [f"{letter}: {words}." for letter, words in list(group.machines.items())[:MACHINES]]
    if table.parted:
        elsewhere = [ELSEWHERE] if any(row.elsewhere for row in group.rows) else []
        more = len(group.machines) - MACHINES
        rest = [f"{more:,} more machines are named on the pages of their runs."] if more > 0 else []
        letters = "Speeds compare only between rows with the same machine letter."
        notes.append(" ".join([letters, *elsewhere, *machines, *rest]))
    else:
        notes += [f"Speeds on {words}." for words in group.machines.values()]
    return _board(table, table.id, " · ".join(facts), heads, table.lines, cells_of, notes + speed_notes(group))


def speed_boards(table: Table) -> list[Board]:
    """The tables of speeds, one for each machine: those of different machines do not compare."""
    columns = cells.with_relative(cells.SPEED, table.compared)
    heads = [Head("model", "model", "model", "ascending"), Head("norm", "norm", "norm", "ascending")]
    heads += [_head(column) for column in columns]
    batch = f" · training batch {table.content['batch_size']}" if table.content.get("batch_size") else ""

    def board(letter: str, lines: list[Line]) -> Board:
        most = cells.largest([line.row for line in lines], columns)

        def cells_of(line: Line) -> list[Cell]:
            row = line.row
            ranked = {column.key: row.ranked(column.key) for column in columns}
            bars = {key: round(number / most[key], 4) for key, number in ranked.items() if number and most[key]}
            return [
                *_named(line),
                *(
                    Cell(
                        ranked[column.key],
                        cells.text(column, row),
                        {"share": bars[column.key]} if column.key in bars else {},
                    )
                    for column in columns
                ),
            ]

        facts = f"{table.group.machines[letter]}{batch}"
        notes = speed_notes(table.on(lines))
        apart = ", ".join(filter(None, [table.apart, f"machine {letter}" * (len(table.by_machine) > 1)]))
        return _board(replace(table, apart=apart), f"{table.id}-{letter}", facts, heads, lines, cells_of, notes)

    return [board(letter, lines) for letter, lines in table.by_machine.items()]


def _board(
    table: Table, anchor: str, facts: str, heads: list[Head], lines: Sequence[Line],
    cells_of: Callable[[Line], list[Cell]], notes: list[str],
) -> Board:  # fmt: skip
    rows, architectures = [cells_of(line) for line in lines], [line.architecture for line in lines]
    short = [note if len(note) <= LETTERS else f"{note[:LETTERS]} ..." for note in notes]
    return Board(anchor, table.group.dataset, table.slug, table.apart, facts, heads, rows, architectures, short)


_ACCURACY = f"with its 95 % confidence interval; {marks.better(smaller=False)}"
_COMPARED = [  # the verdict first: on a phone it is in sight
    Head("verdict", "verdict", "verdict", "ascending", "better or worse than the baseline, where significant"),
    Head("difference", "difference", hint=f"points from the baseline; {marks.better(smaller=False)}"),
    Head("p_value", "p", "number", "ascending", "p-value of the difference, corrected for all rows"),
]


def _head(column: Column, view: str = "") -> Head:
    first = "ascending" if column.smaller else "descending"
    return Head(column.key, column.title, "number", first, column.hint, view)


def _named(line: Line) -> list[Cell]:
    norm = line.row.norm or "–"
    return [
        Cell(line.row.model, line.row.model, {"page": line.runs[0].id, "label": line.row.label}),
        Cell(norm, norm),
    ]


def _accuracy(line: Line) -> Cell:
    row = line.row
    more: dict[str, Any] = {}
    if row.accuracy is not None:
        more = {"marks": marks.marks_of(row.caveats), "spread": cells.spread(row.interval, row.interval_kind)}
        more |= {"band": [round(end, 4) for end in line.band]} if line.band else {}
    if row.diverged:
        more["bad"] = [f"× seed {seed} diverged at epoch {epoch}" for seed, epoch in list(row.diverged.items())[:SEEDS]]
    return Cell(row.accuracy, "" if row.accuracy is None else cells.percent(row.accuracy), more)


def _seeds(line: Line) -> Cell:
    links = [[run.result.seed, run.id] for run in line.runs[:SEEDS]]
    more: dict[str, Any] = {"seeds": links}
    if len(line.runs) > SEEDS:
        more["rest"] = f"and {len(line.runs) - SEEDS:,} more"
    return Cell(len(line.runs), "", more)


def _difference(row: Row) -> list[Cell]:
    against, words = row.against, differences.verdict(row.against, row.selection)
    difference = against.difference if against else None
    beside = {} if difference is None else {"spread": cells.spread(against.interval if against else None, "student")}
    p_value = against.p_value if against else None
    return [
        Cell(against.verdict if against else words, words, {"kind": words.split(" ")[0]}),
        Cell(difference, cells.number(difference, "{:+.2f}", 100), beside),
        Cell(p_value, cells.p_value(p_value)),
    ]
