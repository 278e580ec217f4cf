"""What a reader asks of the tables of a comparison: which columns, and in which order the rows."""

from __future__ import annotations

from dataclasses import dataclass

VIEWS = ("cost", "quality", "differences", "all")


@dataclass(frozen=True)
class Shown:
    """`view`: one of :data:`VIEWS`, or None for the usual columns. `columns`: their names, in place of a view.

    `sort`: the name of the column that orders the rows, best first, with a minus in front worst first.
    """

    view: str | None = None
    columns: tuple[str, ...] | None = None
    sort: str | None = None
