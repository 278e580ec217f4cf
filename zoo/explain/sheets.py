"""Sheets of small images, and charts. Each has a title and a line that names the run."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.render.figures import figure
from zoo.utils.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

# Of a sheet, in inches: image, space, line of text, border. Whole pixels of the file, and 5 x 5 of them to one of an
# image of 32 x 32, so that all of its pixels are equal squares and the file stays small.
SIDE, GAP, LINE, MARGIN = 1.0, 0.0875, 0.11875, 0.125
DOT = 1 / 160
TITLE_SIZE, TEXT_SIZE, CELL_SIZE = 9, 7, 6.5  # points
PER_INCH = 18  # letters of TEXT_SIZE, at the least
LONGEST = 11  # letters of a class name, where space is short
# Names of classes and models are text, not mathematics: a dollar sign stays one.
PLAIN: dict[RcKeyType, Any] = {"text.parse_math": False}


@dataclass(frozen=True)
class Picture:
    """The words of a written image: a heading, what it shows in sentences, and a text for screen readers."""

    title: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Cell:
    """An image of a sheet, (H, W, 3) uint8, and the lines of text below it."""

    image: np.ndarray
    text: str = ""


def shorten(name: str, letters: int = LONGEST) -> str:
    """`name`, with its end left out where it is longer than `letters`."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def sheet(
    path: Path, title: str, line: str, rows: Sequence[Sequence[Cell]],
    labels: Sequence[str] = (), heads: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write `rows` of images, with `labels` left of the rows and `heads` above the columns; sizes follow from them.

    `line` names the run. All images have one shape; a row may be shorter than the others.
    """
    import matplotlib
    from matplotlib.patches import Rectangle

    cells = [cell for row in rows for cell in row]
    tall = SIDE * cells[0].image.shape[0] / cells[0].image.shape[1]
    lines = max(cell.text.count("\n") + 1 if cell.text else 0 for cell in cells)
    head_lines = max((head.count("\n") + 1.3 for head in heads), default=0)
    label_width = max((0.058 * len(part) for label in labels for part in label.split("\n")), default=0)
    left = MARGIN + DOT * round(label_width / DOT)
    width = max(left + max(map(len, rows)) * (SIDE + GAP) - GAP + MARGIN, 4.0)
    subtitle = _wrapped(line, width)
    top = DOT * round((MARGIN + 0.25 + (subtitle.count("\n") + 1 + head_lines) * LINE) / DOT)
    pitch = tall + lines * LINE + GAP
    height = top + len(rows) * pitch - GAP + MARGIN
    with matplotlib.rc_context(PLAIN), figure(path, width, height, write_atomic) as drawing:
        drawing.set_layout_engine("none")
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.text(MARGIN, MARGIN, title, va="top", fontsize=TITLE_SIZE, fontweight="bold")
        axes.text(MARGIN, MARGIN + 0.17, subtitle, va="top", fontsize=TEXT_SIZE, color="#444444", linespacing=1.1)
        for column, head in enumerate(heads):
            x = left + column * (SIDE + GAP) + SIDE / 2
            axes.text(x, top - 0.04, head, ha="center", va="bottom", fontsize=TEXT_SIZE)
        for number, row in enumerate(rows):
            y = top + number * pitch
            if labels:
                axes.text(left - 0.06, y + tall / 2, labels[number], ha="right", va="center", fontsize=TEXT_SIZE)
            for column, cell in enumerate(row):
                x = left + column * (SIDE + GAP)
                axes.imshow(cell.image, extent=(x, x + SIDE, y + tall, y), interpolation="nearest", aspect="auto")
                axes.add_patch(Rectangle((x, y), SIDE, tall, fill=False, edgecolor="#888888", linewidth=0.5))
                for below, part in enumerate(cell.text.split("\n")):
                    axes.text(x + SIDE / 2, y + tall + (below + 0.9) * LINE, part, ha="center", fontsize=CELL_SIZE)
        axes.set_xlim(0, width)  # a unit is an inch
        axes.set_ylim(height, 0)


def _wrapped(line: str, width: float) -> str:
    """`line` in as many lines as `width` inches need, with no number parted from its unit."""
    return textwrap.fill(line.replace(" %", "\N{NO-BREAK SPACE}%"), int((width - 2 * MARGIN) * PER_INCH))


@contextlib.contextmanager
def chart(
    path: Path, title: str, line: str, width: float = 6.4, height: float = 4.0, **layout: Any
) -> Iterator[tuple[Figure, Any]]:
    """A figure with `title` and `line` above, and its axes by ``Figure.subplots(**layout)``; written when it ends."""
    import matplotlib

    subtitle = _wrapped(line, width)
    top = height + 2 * MARGIN + 0.15 + (subtitle.count("\n") + 1) * LINE
    with matplotlib.rc_context(PLAIN), figure(path, width, top, write_atomic) as drawing:
        drawing.set_layout_engine("constrained", rect=(0, 0, 1, height / top), h_pad=0.05, w_pad=0.05)
        left, below = MARGIN / width, 1 - (MARGIN + 0.17) / top
        drawing.text(left, 1 - MARGIN / top, title, va="top", fontsize=TITLE_SIZE, fontweight="bold")
        drawing.text(left, below, subtitle, va="top", fontsize=TEXT_SIZE, color="#444444", linespacing=1.1)
        yield drawing, drawing.subplots(**layout)
