"""Tables that commands print, read back as a person reads them."""

from __future__ import annotations

import re
from itertools import dropwhile, takewhile

MARKS = {r"\dag": "†", r"\ddag": "‡", r"\S": "§"}


def table(text: str, style: str) -> list[dict[str, str]]:
    """The rows of the first table in `text`, by column, as a reader sees them."""
    if style == "text":
        return of_text(text)
    if style == "markdown":
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
        assert all(re.fullmatch(r"\s*:?-+:?\s*", cell) for cell in lines.pop(1))
    else:
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")].replace(r"\toprule", "")
        lines = [re.split(r"(?<!\\)&", line) for line in body.replace(r"\midrule", "").split("\\\\\n") if line.strip()]
    cells = [[unescaped(cell.strip(), style) for cell in line] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    return [dict(zip(cells[0], line, strict=True)) for line in cells[1:]]


def of_text(text: str) -> list[dict[str, str]]:
    """The same of text: parts below each other are put together, and so are lines of one cell."""
    blocks = [block.split("\n") for block in re.split(r"\n\s*\n", text)]
    parts = list(takewhile(rule_of, dropwhile(lambda block: not rule_of(block), blocks)))
    assert parts, text
    rows = [of_part(part, rule_of(part)) for part in parts]
    assert len({len(part) for part in rows}) == 1
    return [{name: cell for row in part for name, cell in row.items()} for part in zip(*rows, strict=True)]


def rule_of(block: list[str]) -> int:
    """The line of dashes in a block of lines; 0 where it has none."""
    return next((n for n, line in enumerate(block) if n and re.fullmatch(r"-+(  -+)*", line.strip())), 0)


def of_part(lines: list[str], rule: int) -> list[dict[str, str]]:
    """One part of a table, whose rule is that line; where it is indented, the first cells have lines of their own."""
    spans = [match.span() for match in re.finditer("-+", lines[rule])]
    above = lines[rule].startswith(" ")
    heads = [line for line in lines[:rule] if not above or line.startswith(" ")]
    titles = [*([lines[0]] if above else []), *(joined(heads, *span) for span in spans)]
    rows: list[list[str]] = []
    for line in lines[rule + 1 :]:
        if not line.startswith(" ") if above else line[slice(*spans[0])].strip():
            rows.append([])
        rows[-1].append(line)
    return [
        dict(zip(titles, [*row[:above], *(joined(row[above:], *span) for span in spans)], strict=True)) for row in rows
    ]


def joined(lines: list[str], start: int, end: int) -> str:
    """What several lines have between two places, as one text."""
    return " ".join(filter(None, (line[start:end].strip() for line in lines)))


def unescaped(cell: str, style: str) -> str:
    """A cell without the escapes of its style."""
    if style == "latex":
        for command, mark in MARKS.items():
            note = rf"\tnote{{{command}}}"
            cell = cell.replace(f"){note}", f") {mark}").replace(note, mark)
        cell = cell.replace(r"\textless{}", "<").replace(r"\pm", "±").replace("{,}", ",").replace("$", "")
        cell = "-" if cell == "--" else re.sub(r"(?<=\d)--(?=\d)", "-", cell)
        cell = cell.replace(r"\textbackslash{}", "\\")
    return re.sub(r"\\([%&_|#${}])", r"\1", cell) if style in ("markdown", "latex") else cell
