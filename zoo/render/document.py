"""What reports look like: title, table and notes in text, Markdown or LaTeX for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from zoo.utils.text import markdown, visible

# How tabulate calls the tables of each style; None where there is none but records.
FORMATS = {"text": "simple", "markdown": "github", "csv": None, "latex": "latex_booktabs", "json": None}
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
LEFT = ("model", "norm")  # columns of words; numbers end at the right


def document(
    title: str | None, rows: Sequence[Mapping[str, str]], notes: Sequence[str], style: str, left: Sequence[str] = LEFT
) -> str:
    """The table of `rows` between `title` and `notes` in a style of :data:`FORMATS` that has one, ending in a newline.

    `left`: the columns that begin at the left. Nothing stands above the table where `title` is None.
    """
    prefix = "% " if style == "latex" else ""
    plain = markdown if style == "markdown" else visible
    title, notes = title and plain(title), [plain(note) for note in notes]
    above = [] if title is None else [f"**{title}**" if style == "markdown" else prefix + title, ""]
    table = table_of(rows, FORMATS[style] or "simple", left)
    return "\n".join([*above, table, "", *(prefix + note for note in notes), ""])


def table_of(rows: Sequence[Mapping[str, str]], tablefmt: str, left: Sequence[str] = LEFT) -> str:
    """The table of `rows`, a column for each key, in one of tabulate's formats, of which "html" escapes its cells."""
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
