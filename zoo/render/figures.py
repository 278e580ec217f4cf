"""What all plots share: the file formats, one style, the look of a norm, and writing whole files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import Option, ResultError
from zoo.utils.extras import require
from zoo.utils.files import reachable, write_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe and Ito, "Color Universal Design", 2008: colour-blind readers can distinguish them. Without yellow, and pale
# ones darkened, so that each has a contrast of 3:1 on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C0729D", "#B37C00", "#4F9BC5", "#000000")
# For print in grey, and where there are more lines than colours. None is a cross: × is a run that diverged.
MARKERS = "osD^v<>p"
# The built-in norms: the place of each is the number of its look, in every plot and on the web page.
NORMS = (
    "bn", "ln", "gn", "in", "none", "frn", "evos0", "ln2d", "rms2d", "evob0", "ws_gn", "brn", "bn_ghost", "syncbn",
)  # fmt: skip
OWN = 20  # the number of the first other look: black
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.edgecolor": "#555555",
    "legend.frameon": False,
    "svg.hashsalt": "zoo",  # equal figures make equal files
    "pdf.fonttype": 42,
}


def looks(names: Iterable[str]) -> dict[str, int]:
    """The number of a look for each of `names`: built-in norms have theirs, all others follow from :data:`OWN` on."""
    places = {name: place for place, name in enumerate(NORMS)}
    others = (name for name in sorted({*names}) if name not in places)
    return places | {name: OWN + number for number, name in enumerate(others)}


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
    require("plots need", ["matplotlib"])


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
