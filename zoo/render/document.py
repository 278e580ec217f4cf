"""What reports look like: title, table and notes in text, Markdown or LaTeX for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from zoo.render import latex
from zoo.render.fit import INDENT, fit, width, wrap
from zoo.utils.text import markdown, visible

FORMATS = ("text", "markdown", "csv", "latex", "json")
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
LEFT = ("model", "norm", "verdict")  # columns of words; numbers end at the right


def document(
    title: str | None,
    rows: Sequence[Mapping[str, str]],
    notes: Sequence[str],
    style: str,
    left: Sequence[str] = LEFT,
    caption: str = "",
) -> str:
    """The table of `rows` below `title` and `caption`, above `notes`, in a style of :data:`FORMATS` that has one.

    It ends in a newline. Text has lines as long as :func:`zoo.render.fit.width` says. `left`: the columns that begin
    at the left. Nothing stands above the table where `title` is None.
    """
    if style == "latex":
        return latex.table(title or "", caption, rows, notes, left)
    if style == "markdown":
        heads = [f"**{markdown(title)}**", *([markdown(caption)] if caption else []), ""] if title else []
        return "\n".join([*heads, table_of(rows, "github", left), "", *map(markdown, notes), ""])
    most = width()
    lines = [line for text in (title, caption) if text for line in wrap(visible(text), most)]
    shown = [{name: visible(cell) for name, cell in row.items()} for row in rows]
    below = [line for note in notes for line in wrap(visible(note), most, INDENT)]
    return "\n".join([*lines, *([""] if lines else []), fit(shown, left, most), "", *below, ""])


def without_equal(rows: Sequence[Mapping[str, str]], kept: Collection[str]) -> tuple[list[dict[str, str]], str]:
    """`rows` without the columns that are equal in all of several rows, and a sentence on these.

    The columns in `kept` stay.
    """
    equal = {
        name: cell
        for name, cell in rows[0].items()
        if len(rows) > 1 and name not in kept and all(row.get(name) == cell for row in rows)
    }
    caption = f"In all rows: {'; '.join(f'{name} {cell}' for name, cell in equal.items())}." if equal else ""
    return [{name: cell for name, cell in row.items() if name not in equal} for row in rows], caption


def table_of(rows: Sequence[Mapping[str, str]], tablefmt: str, left: Sequence[str] = LEFT) -> str:
    """The table of `rows`, a column for each key, as tabulate writes "github" and "html", which escapes its cells."""
    plain = markdown if tablefmt == "github" else visible
    rows = [{name: plain(cell) for name, cell in row.items()} for row in rows]
    columns = dict.fromkeys(name for row in rows for name in row)
    aligned = ["left" if name in left else "right" for name in columns]
    return tabulate(rows, headers="keys", tablefmt=tablefmt, colalign=aligned, disable_numparse=True)


def as_json(content: Any) -> str:
    """`content` as JSON, ending in a newline."""
    return json.dumps(content, indent=1) + "\n"


def as_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """One line for each of `records` below their keys; None is empty, a list has spaces between.

    Text that a spreadsheet would take for a formula, a name that begins with ``=``, has an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n")
    writer.writeheader()
    for record in records:
        cells = {key: " ".join(map(str, cell)) if isinstance(cell, list) else cell for key, cell in record.items()}
        writer.writerow({key: _no_formula(cell) if isinstance(cell, str) else cell for key, cell in cells.items()})
    return text.getvalue()


def _no_formula(text: str) -> str:
    text = visible(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not NUMBER.fullmatch(text) else text


RECORDS: dict[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {"csv": as_csv, "json": as_json}
