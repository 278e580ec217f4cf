"""Tables and sentences within the width of a terminal. Lines end between words; a wide table comes in several parts."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len

from zoo.utils.text import visible

PIPED = 80  # columns where the output is no terminal and COLUMNS is not set
GAP, INDENT = "  ", "  "
SHORT, LINES = 16, 3  # a shorter cell has one line; a longer one takes so many at most, where there is room
# Where a line may end. Kept together: a number with its interval, unit or brackets, `(p 0.02)`, `[1, 2]`, `not ...`.
BREAK = re.compile(r"(?<!±)(?<!<)(?<!\(p)(?<!\bnot) (?!±|<|%|to \d|\(n=|\(\d|[-\d., ]*\])")


def width() -> int:
    """The columns of the terminal, or of ``COLUMNS``; :data:`PIPED` where there is neither."""
    if os.environ.get("COLUMNS") or sys.stdout.isatty():
        return shutil.get_terminal_size((PIPED, 24)).columns
    return PIPED


def wrap(text: str, most: int, indent: str = "") -> list[str]:
    """`text` in lines of at most `most` columns, all but the first behind `indent`. A longer word is not cut."""
    if cell_len(text) <= most:
        return [text]
    first, *words = BREAK.split(text)
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if cell_len(longer) <= most:
            lines[-1] = longer
        else:
            lines.append(indent + word)
    return lines


def fit(rows: Sequence[Mapping[str, str]], left: Collection[str], most: int, *, titled: bool = True) -> str:
    """The table of `rows`, a column for each key, in lines of at most `most` columns.

    Columns in `left` begin at the left, others end at the right. What does not fit beside the first columns, those
    that tell the rows apart, stands in further parts below, each with these columns again. Where the first column
    leaves no room, its cells have lines of their own. Without `titled` there are cells alone.
    """
    if not rows:
        return ""
    titles = dict.fromkeys(title for row in rows for title in row)
    columns = [
        _Column([visible(title) if titled else "", *(row.get(title, "") for row in rows)], title in left, most // 2)
        for title in titles
    ]
    above = any(_least([columns[0], column]) > most for column in columns[1:])
    keys, room = ([], most - len(INDENT)) if above else (_keys(columns, most), most)
    parts: list[list[_Column]] = [[]]
    for column in columns[1 if above else len(keys) :]:
        if parts[-1] and _least([*keys, *parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    return "\n\n".join("\n".join(_lines([*keys, *part], room, titled, columns[0] if above else None)) for part in parts)


@dataclass(frozen=True)
class _Column:
    """`texts`: the title and the cells. `half` of a line is the most that a cell of several lines begins with."""

    texts: list[str]
    left: bool
    half: int

    @cached_property
    def sizes(self) -> list[int]:
        """The widths of the title and of the cells."""
        return list(map(cell_len, self.texts))

    @cached_property
    def longest(self) -> int:
        """The width of the longest cell."""
        return max(self.sizes[1:])

    @cached_property
    def least(self) -> int:
        """The width below which words would be torn, or a cell take more lines than it should."""
        word = 0
        for text, size in zip(self.texts, self.sizes, strict=True):
            if size > word:  # many cells are no longer than the longest word before
                word = max(word, *map(cell_len, BREAK.split(text)))
        wrapped = max(min(self.longest, SHORT), min(-(-self.longest // LINES), self.half))
        return max(word, min(wrapped, self.half))

    def lines(self, wide: int) -> list[list[str]]:
        """The title and each cell in lines of equal width, at most `wide` but for longer words."""
        texts = [
            [(text, size)] if size <= wide else [(line, cell_len(line)) for line in wrap(text, wide)]
            for text, size in zip(self.texts, self.sizes, strict=True)
        ]
        used = max(size for lines in texts for _, size in lines)
        if self.left:
            return [[line + " " * (used - size) for line, size in lines] for lines in texts]
        return [[" " * (used - size) + line for line, size in lines] for lines in texts]


def _least(columns: Sequence[_Column]) -> int:
    return sum(column.least for column in columns) + len(GAP) * (len(columns) - 1)


def _keys(columns: Sequence[_Column], most: int) -> list[_Column]:
    """The first columns that tell the rows apart, if they leave room; else the first one."""
    for count in range(1, len(columns)):
        keys = list(columns[:count])
        rows = list(zip(*(column.texts for column in keys), strict=True))
        room = all(_least([*keys, column]) <= most for column in columns[count:])
        if len(set(rows)) == len(rows) and _least(keys) <= most // 2 and room:
            return keys
    return list(columns[:1])


def _widths(columns: Sequence[_Column], most: int) -> list[int]:
    """The least of each of `columns`; then what is left for whole cells, and for titles on one line."""
    widths, left = [column.least for column in columns], most - _least(columns)
    for wanted in ([column.longest for column in columns], [column.sizes[0] for column in columns]):
        for lack, place in sorted((wide - widths[place], place) for place, wide in enumerate(wanted)):
            more = max(0, min(left, lack))
            widths[place] += more
            left -= more
    return widths


def _lines(columns: Sequence[_Column], most: int, titled: bool, above: _Column | None) -> Iterator[str]:
    """The lines of one part. `above`: the column whose cells have lines of their own."""
    texts = [column.lines(wide) for column, wide in zip(columns, _widths(columns, most), strict=True)]
    blanks = [" " * cell_len(lines[0][0]) for lines in texts]
    indent = INDENT if above else ""
    for place, cells in enumerate(zip(*texts, strict=True)):
        if place == 0 and not titled:
            continue
        if above:
            yield from wrap(above.texts[place], most)
        height = max(map(len, cells))
        for number in range(height):
            line = []
            for lines, blank in zip(cells, blanks, strict=True):
                at = number - (height - len(lines)) * (place == 0)  # titles stand on the rule
                line.append(lines[at] if 0 <= at < len(lines) else blank)
            yield (indent + GAP.join(line)).rstrip()
        if place == 0:
            yield indent + GAP.join("-" * len(blank) for blank in blanks)
