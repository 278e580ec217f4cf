"""A comparison as HTML for notebooks: the cells, marks and notes of the text tables, all escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from zoo.comparison.groups import Group
from zoo.render.comparison import notes_of, rows_of, title_of
from zoo.render.document import table_of


def groups_html(groups: Iterable[Group]) -> str:
    """One table per group, with the title and the notes that ``zoo compare`` prints."""
    parts = []
    for group in groups:
        notes = "<br>\n".join(escape(note) for note in notes_of(group, "summary"))
        table = table_of(rows_of(group, "summary"), "html")
        parts += [f"<p><b>{escape(title_of(group))}</b></p>", table, f"<p><small>{notes}</small></p>"]
    return "\n".join(parts)
