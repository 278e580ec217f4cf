"""A result and a comparison as HTML for notebooks: the cells, marks and notes of the text tables, all escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from tabulate import tabulate

from zoo.comparison import Group, compare
from zoo.report.layout import table_of
from zoo.report.tables import cells_of, notes_of, rows_of, title_of
from zoo.results import Result
from zoo.run_folder import RunFolder, Stored


def groups_html(groups: Sequence[Group]) -> str:
    """One table per group, with the title and the notes that ``zoo compare`` prints."""
    return "\n".join(_page(group, table_of(rows_of(group, "summary"), "html")) for group in groups)


def result_html(result: Result) -> str:
    """One run: what its row in a comparison says, one line per column, and what is of this run alone."""
    (group,) = compare([Stored(result, RunFolder(Path()))])
    (row,) = group.rows
    cells = cells_of(row, group, "summary", compared=False)
    del cells["seeds"]
    lines = {
        **cells,
        "label": result.model.label,
        "seed": str(result.seed),
        "status": result.status,
        "epochs": str(result.epochs_trained),
        "seconds": f"{result.wall_seconds:,.0f}",
        "started": result.started,
    }
    table = tabulate(list(lines.items()), tablefmt="html", colalign=("left", "left"), disable_numparse=True)
    return _page(group, table)


def _page(group: Group, table: str) -> str:
    notes = "<br>\n".join(escape(note) for note in notes_of(group, "summary"))
    return f"<p><b>{escape(title_of(group))}</b></p>\n{table}\n<p><small>{notes}</small></p>"
