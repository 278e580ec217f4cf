"""The columns of the web page's tables, and how a cell of them is written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.render import columns, marks
from zoo.render.code import code_notes
from zoo.render.columns import Column
from zoo.render.comparison import alike_notes, verdict_notes

SPEED = (columns.TRAIN_SPEED, *columns.OTHER_SPEEDS)
SUMMARY = (*columns.SIZE, *SPEED)
QUALITY = (*columns.METRICS, columns.ACTIVATIONS)
QUALITY_OF_ROWS = (columns.WORST_SEED, *QUALITY)  # of one run there is no worst seed


def text(column: Column, row: Row) -> str:
    """A cell as tables have it, with a true minus sign, and an en dash where there is no metric."""
    return "–" if (shown := column.text(row)) == "-" else re.sub(r"^-", "−", shown)


def balance(rows: Sequence[Row]) -> Sequence[Column]:
    """What stands beside the accuracies of `rows` where their test set is unbalanced; nothing elsewhere."""
    return columns.BALANCE if any(row.largest_class_share for row in rows) else ()


def with_relative(chosen: Sequence[Column], compared: bool) -> list[Column]:
    """`chosen`, with the relative speed after the training speed where rows are `compared` with a baseline."""
    place = chosen.index(columns.TRAIN_SPEED) + 1
    return [*chosen[:place], *[columns.RELATIVE_SPEED] * compared, *chosen[place:]]


def largest(rows: Sequence[Row], chosen: Sequence[Column]) -> dict[str, float]:
    """The largest figure of each column that ranks its row, by its key; 0 where no row has one."""
    return {column.key: max((row.ranked(column.key) or 0 for row in rows), default=0) for column in chosen}


def notes(group: Group) -> list[str]:
    """What the marks, verdicts and code of the table of `group` say."""
    marked = marks.mark_notes(*(row.caveats for row in group.rows))
    return verdict_notes(group) + marked + alike_notes(group) + code_notes(group)


def number(value: float | None, shape: str, factor: float = 1.0) -> str:
    """`value` times `factor` in `shape`, with a true minus sign; an en dash for None."""
    return "–" if value is None else marks.number(value, shape, factor).replace("-", "−")


def percent(value: float | None) -> str:
    """A fraction as per cent, two decimals."""
    return number(value, "{:.2f}", 100)


def spread(interval: tuple[float, float] | None, kind: str | None) -> str:
    """A 95 % interval in points as :func:`zoo.render.marks.spread` writes it; empty for None."""
    return "" if interval is None else marks.spread(interval, kind)


def p_value(value: float | None) -> str:
    """Three decimals, and no p of zero; an en dash for None."""
    return "–" if value is None else marks.p_value(value)
