"""The page as one file, which a notebook shows: all overviews, scripts, styles and curves in one HTML document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from zoo.errors import Option, ResultError
from zoo.results.begun import Begun
from zoo.results.folder import Stored
from zoo.results.history import load_history
from zoo.utils.files import reachable, write_named
from zoo.web.charts import curve, has_curve, script_call
from zoo.web.data import tables
from zoo.web.writer import OVERVIEWS, Writer, fixed_files

SCRIPTS = ("plotly.min.js", "static/charts.js", "static/tradeoffs.js", "static/curves.js")
LAST = ("static/single.js", "static/page.js")  # after the curves, since the second starts the page


def check_file(out: Path) -> None:
    """Whether the page may be written to `out`. Raises :class:`ResultError`."""
    where = Option("out", str(out))
    with reachable(out, ResultError):
        if out.suffix != ".html":
            raise ResultError(where, ": one page is a file; end its name in .html")
        if out.is_dir():
            raise ResultError(where, ": is a folder; name a file")
        if not out.absolute().parent.is_dir():
            raise ResultError(where, f": no folder {out.absolute().parent}; make it first")


def write_single(
    runs: Sequence[Stored], out: Path, baseline: str | None, allow_dirty: bool, begun: Sequence[Begun]
) -> tuple[int, int]:
    """Write the page of `runs` to the file `out`; the number of its runs, and of its bytes.

    It has no pages of single runs and none of their images. Raises as :func:`zoo.web.writer.write_report` does.
    """
    check_file(out)
    files = {name: content.decode() for name, content in fixed_files()}
    shown = tables(runs, baseline, allow_dirty)
    writer = Writer(baseline, begun=[str(run) for run in begun], inline=files)
    mains = {}
    for name in OVERVIEWS:
        _, page = writer.overview(name, shown)
        start, end = re.search(rb"<main[^>]*>", page), page.rindex(b"</main>")
        mains[name] = Markup(page[start.end() if start else 0 : end].decode())
    pages = [run for table in shown for run in table.runs]
    curves = [script_call("zoo.curve", run.id, curve(load_history(run.stored.folder.history)))
              for run in pages if has_curve(run)]  # fmt: skip
    scripts = [*(files[name] for name in SCRIPTS), "".join(curves), *(files[name] for name in LAST)]
    content = writer.page(
        "single.html", page="index", up="", edition=0, mains=mains, scripts=list(map(Markup, scripts))
    )
    write_named(out, content)
    return len(pages), len(content)
