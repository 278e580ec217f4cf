"""What all static figures share: the file formats, one style, and writing whole files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import Option, ResultError
from zoo.utils.extras import require
from zoo.utils.files import reachable, write_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind readers. Without yellow, pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*"  # for print in grey, and where there are more lines than colours
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.hashsalt": "zoo",  # equal figures make equal files
    "pdf.fonttype": 42,
}


def check_figure(path: Path) -> None:
    """Whether a figure can be written to `path`, before the hours of work that it shows.

    Raises :class:`ResultError` for another kind of file or no folder, and as :func:`require` without matplotlib.
    """
    if path.suffix not in SUFFIXES:
        raise ResultError(
            Option("out", str(path)),
            f": unknown kind of picture {path.suffix!r}; end the name in {', '.join(SUFFIXES)}",
        )
    with reachable(path, ResultError):
        path.exists()  # a name may be too long
        if not path.absolute().parent.is_dir():
            raise ResultError(Option("out", str(path)), f": no folder {path.absolute().parent}; make it first")
    require("pictures need", ["matplotlib"], "report")


@contextlib.contextmanager
def figure(
    path: Path, width: float = 5.5, height: float = 3.4, write: Callable[[Path, memoryview], None] = write_named
) -> Iterator[Figure]:
    """A figure of `width` by `height` inches, written to `path` when the block ends. Raises as `write` does."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # names that the font has no letters for: boxes
        image = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(image)
        yield image
        content = io.BytesIO()
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
        image.savefig(content, format=path.suffix[1:], dpi=160, metadata=metadata)
    write(path, content.getbuffer())
