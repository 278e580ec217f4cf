"""The page as a folder of files: rendered beside the old one, then put in its place whole."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import MachineError, Option, ResultError
from zoo.render import comparison, differences, marks
from zoo.render.code import code_of
from zoo.render.figures import COLOURS
from zoo.results.folder import Stored
from zoo.results.history import load_history
from zoo.utils.disk import put
from zoo.utils.extras import require
from zoo.utils.files import new_folder, reachable, write_new
from zoo.utils.gcpause import paused_gc
from zoo.utils.version import __version__
from zoo.web import cells, charts, runpage
from zoo.web.data import tables

MANIFEST = "zoo-report.json"  # marks a folder as a report, and names its files
_HERE = Path(__file__).parent
_PAGES = ("index", "tradeoffs", "curves", "speed")


def check_packages() -> None:
    """Raise :class:`MachineError` where a package that the page needs is not installed."""
    require("the page needs", ("jinja2", "plotly"), "report")


def check_out(out: Path) -> None:
    """Whether a report may be put at `out`: nothing is there, an empty folder, or an older report and nothing else.

    Raises :class:`ResultError`.
    """
    where = Option("out", str(out))
    with reachable(out, ResultError):
        if not out.parent.is_dir():
            raise ResultError(where, f": no folder {out.parent}; make it first")
        if not (out.exists() or out.is_symlink()):
            return
        if not out.is_dir():
            raise ResultError(where, ": is no folder; name another")
        files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
        if not files:
            return
        try:
            written = set(json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ResultError(where, ": holds files and is no zoo report; name another folder, or empty it") from None
        if foreign := sorted(files - written - {MANIFEST}):
            raise ResultError(where, f": holds {foreign[0]!r}, which is not of the report there; move it away")


def write_report(runs: Sequence[Stored], out: Path, baseline: str | None = None, allow_dirty: bool = False) -> int:
    """Make the report of `runs` at `out`, whole or not at all, and give the number of its runs.

    Raises :class:`ResultError` for an `out` that is something else, and as :func:`zoo.comparison.groups.compare` does.
    """
    check_out(out.absolute())
    with reachable(out, ResultError):
        place = out.resolve()  # what the user names may be a link
    try:
        with new_folder(place) as fresh:
            count = render(runs, fresh, baseline, allow_dirty)
            put(fresh, place)
    except OSError as problem:
        advice = "; choose another ", Option("out")
        raise MachineError(f"{out}: the report cannot be written ({problem.strerror})", *advice) from problem
    return count


@paused_gc()
def render(
    runs: Sequence[Stored],
    folder: Path,
    baseline: str | None = None,
    allow_dirty: bool = False,
    edition: int = 0,
    faults: list[Exception] | None = None,
) -> int:
    """Write all files of the page into the empty `folder`. A page of an `edition` asks its server for a newer one.

    Where there are `faults`, histories that cannot be read are added to them. Raises OSError.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    boards = tables(runs, baseline, allow_dirty)
    files: list[str] = []

    def add(name: str, content: str | bytes) -> None:
        write_new(folder / name, content if isinstance(content, bytes) else content.encode())
        files.append(name)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": cells.percent, "script_json": charts.script_json, "yaml": runpage.as_yaml}
    environment.globals |= {
        "cells": cells, "runpage": runpage, "has_curve": charts.has_curve, "colours": COLOURS, "marks": marks,
        "comparison": comparison, "code_of": code_of, "differences": differences, "tables": boards,
        "baseline": baseline, "edition": edition, "version": __version__,
        "built": f"{datetime.datetime.now(datetime.UTC):%d %B %Y, %H:%M} UTC",
    }  # fmt: skip
    data = {
        "tradeoffs": charts.tradeoffs(boards),
        "curves": {"runs": charts.curve_list(boards), "first": charts.first_choice(boards)},
    }
    add("plotly.min.js", get_plotlyjs())
    for path in sorted((_HERE / "static").iterdir()):
        add(f"static/{path.name}", path.read_bytes())
    for name in _PAGES:
        add(f"{name}.html", environment.get_template(f"{name}.html").render(page=name, up="", data=data.get(name)))
    template = environment.get_template("run.html")
    pages = [(table, line, run) for table in boards for line in table.lines for run in line.runs]
    for table, line, run in pages:
        shown = []
        for number, (picture, content) in enumerate(runpage.pictures(run), 1):
            name = f"pictures/{run.id}/{number}.png"
            add(name, content)
            shown.append({"file": name, "caption": runpage.caption(picture)})
        if charts.has_curve(run):
            try:
                history = charts.curve(load_history(run.stored.folder.history))
            except ResultError as problem:
                if faults is None:
                    raise
                faults.append(problem)
                history = charts.curve([])
            add(f"data/{run.id}.js", charts.script_call("zoo.curve", run.id, history))
        add(f"runs/{run.id}.html", template.render(page="run", up="../", table=table, line=line, run=run, shown=shown))
    manifest = {"version": __version__, "files": sorted(files)}
    write_new(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
    return len(pages)
