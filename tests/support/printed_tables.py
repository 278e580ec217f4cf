"""Tables that commands print, read back as a person reads them."""

from __future__ import annotations

import re


def table(text: str, style: str) -> list[dict[str, str]]:
    """The rows of the first table in `text`, by column, as a reader sees them."""
    if style == "markdown":
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
        assert all(re.fullmatch(r"\s*:?-+:?\s*", cell) for cell in lines.pop(1))
    elif style == "latex":
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")].replace(r"\toprule", "")
        body = body.replace(r"\midrule", "")
        lines = [re.split(r"(?<!\\)&", line) for line in body.split(r"\\") if line.strip()]
    else:
        found = text.splitlines()
        rule = next(i for i, line in enumerate(found) if re.fullmatch(r"-+(  -+)+", line.strip()))
        spans = [match.span() for match in re.finditer("-+", found[rule])]
        end = next(i for i in range(rule + 1, len(found)) if not found[i].strip())
        lines = [[line[a:b] for a, b in spans] for line in (found[rule - 1], *found[rule + 1 : end])]
    cells = [[unescaped(cell.strip(), style) for cell in line] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    return [dict(zip(cells[0], line, strict=True)) for line in cells[1:]]


def unescaped(cell: str, style: str) -> str:
    """A cell without the escapes of its style."""
    cell = cell.replace(r"\ensuremath{<}", "<")
    return re.sub(r"\\([%&_|#$])", r"\1", cell) if style in ("markdown", "latex") else cell
