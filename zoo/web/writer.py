"""The page as a folder of files: rendered beside the old one, then put in its place whole."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from zoo.errors import MachineError, Option, ResultError, ZooError
from zoo.render import comparison, marks
from zoo.render.figures import COLOURS, looks
from zoo.results.begun import Begun
from zoo.results.folder import Stored
from zoo.results.history import load_history
from zoo.utils.disk import put
from zoo.utils.extras import require
from zoo.utils.files import new_folder, reachable, write_new
from zoo.utils.gcpause import paused_gc
from zoo.utils.text import counted, listed
from zoo.utils.version import __version__
from zoo.utils.waiting import watched
from zoo.web import boards, cells, charts, runpage
from zoo.web.data import Line, Page, Table, tables

if TYPE_CHECKING:
    import jinja2

MANIFEST = "zoo-report.json"  # marks a folder as a report, and names its files
_HERE = Path(__file__).parent
_TITLES = {"index": "Leaderboard", "tradeoffs": "Trade-offs", "curves": "Curves", "speed": "Speed"}
OVERVIEWS = tuple(_TITLES)
File = tuple[str, bytes]  # of a page: its name from the page's folder on, and its content


def check_packages() -> None:
    """Raise :class:`MachineError` where a package that the page needs is not installed."""
    require("the page needs", ("jinja2", "plotly"))


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


def write_report(
    runs: Sequence[Stored],
    out: Path,
    baseline: str | None = None,
    allow_dirty: bool = False,
    begun: Sequence[Begun] = (),
) -> int:
    """Make the report of `runs` at `out`, whole or not at all, and give the number of its runs.

    `begun`: runs beside them that are not finished, which it names.
    Raises :class:`ResultError` for an `out` that is something else, and as :func:`zoo.comparison.groups.compare` does.
    """
    check_out(out.absolute())
    with reachable(out, ResultError):
        place = out.resolve()  # what the user names may be a link
    try:
        with new_folder(place) as fresh:
            writer = Writer(baseline, begun=[str(run) for run in begun])
            count = _render(tables(runs, baseline, allow_dirty), fresh, writer)
            put(fresh, place)
    except OSError as problem:
        advice = "; choose another ", Option("out")
        raise MachineError(f"{out}: the report cannot be written ({problem.strerror})", *advice) from problem
    return count


@dataclass(frozen=True)
class Writer:
    """Makes the files of a page as (name, content). A page of an `edition` asks its server for a newer one.

    `begun` names runs that are not finished. `inline`: the fixed files, where they are part of the page.
    """

    baseline: str | None = None
    edition: int = 0
    begun: Sequence[str] = ()
    inline: Mapping[str, str] | None = None

    @cached_property
    def _built(self) -> str:
        return f"{datetime.datetime.now(datetime.UTC):%d %B %Y, %H:%M} UTC"

    def page(self, template: str, **content: object) -> bytes:
        """The `template` filled."""
        return _environment().get_template(template).render(built=self._built, inline=self.inline, **content).encode()

    def overview(self, name: str, shown: Sequence[Table]) -> File:
        """The page `name`, of :data:`OVERVIEWS`, on all tables `shown`."""
        content: dict[str, object] = {"tables": shown}
        if name == "index":
            content = self._leaderboards(shown) | {"baseline": self.baseline, "begun": listed(self.begun)}
        elif name == "speed":
            content = {"boards": [board for table in shown for board in boards.speed_boards(table)]}
        elif name == "tradeoffs":
            content["data"] = charts.tradeoffs(shown)
        elif name == "curves":
            content["without"] = charts.without_curve(shown)
            content["data"] = {
                "runs": charts.curve_list(shown), "first": charts.first_choice(shown), "looks": charts.looks_of(shown),
            }  # fmt: skip
        return f"{name}.html", self.page(f"{name}.html", page=name, up="", edition=self.edition, **content)

    def _leaderboards(self, shown: Sequence[Table]) -> dict[str, object]:
        lines = [line for table in shown for line in table.lines]
        names = {
            "dataset": ("Dataset", {table.group.dataset for table in shown}),
            "recipe": ("Recipe", {table.slug for table in shown}),
            "norm": ("Norm", {line.row.norm or "–" for line in lines}),
            "architecture": ("Architecture", {line.architecture for line in lines}),
        }
        # A list of thousands helps nobody: the search finds them.
        fewer = {name: choice for name, choice in names.items() if len(choice[1]) <= boards.CHOICES}
        return {
            "boards": [boards.leaderboard(table) for table in shown],
            "choices": [(name, title, sorted(kinds)) for name, (title, kinds) in fewer.items()],
            "kinds": {line.row.interval_kind for line in lines},
            "count": sum(len(line.runs) for line in lines),
        }  # fmt: skip

    def run(self, table: Table, line: Line, run: Page, faults: list[ZooError] | None = None) -> Iterator[File]:
        """The page of one run of `line` in `table`, its curve and its pictures.

        Where there are `faults`, a history that cannot be read is added to them.
        """
        shown, norm = [], line.row.norm or "–"
        for number, (picture, content) in enumerate(runpage.pictures(run), 1):
            name = f"pictures/{run.id}/{number}.png"
            yield name, content
            shown.append({"file": name, "caption": runpage.caption(picture)})
        if has_curve := charts.has_curve(run):
            try:
                history = charts.curve(load_history(run.stored.folder.history))
            except ResultError as problem:
                if faults is None:
                    raise
                faults.append(problem)
                history = charts.curve([])
            yield f"data/{run.id}.js", charts.script_call("zoo.curve", run.id, history).encode()
        yield f"runs/{run.id}.html", self.page(
            "run.html", page="run", up="../", table=table, run=run, others=runpage.others(line, run), shown=shown,
            has_curve=has_curve, edition="any" if self.edition else 0,  # it outlives editions
            look=looks([norm])[norm],
        )  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    """The templates, compiled once."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    environment.filters |= {"percent": cells.percent, "script_json": charts.script_json, "yaml": runpage.as_yaml}
    environment.globals |= {
        "runpage": runpage, "navigation": _navigation, "marks": marks, "limits": boards, "comparison": comparison,
        "counted": counted,
        "colours": "".join(f"--o{number}:{colour};" for number, colour in enumerate(COLOURS)), "version": __version__,
    }  # fmt: skip
    return environment


@cache
def _navigation(page: str, up: str) -> Markup:
    """The links of the page `page` to all overviews, `up` to their folder."""
    return Markup("\n").join(
        Markup('    <a href="{}{}.html"{}>{}</a>').format(
            up, name, Markup(' aria-current="page"') if name == page else "", title
        )
        for name, title in _TITLES.items()
    )


def fixed_files() -> Iterator[File]:
    """What is the same in every page: scripts and styles."""
    from plotly.offline import get_plotlyjs

    yield "plotly.min.js", get_plotlyjs().encode()
    for path in sorted((_HERE / "static").iterdir()):
        yield f"static/{path.name}", path.read_bytes()


@paused_gc()
def _render(shown: Sequence[Table], folder: Path, writer: Writer) -> int:
    """Write all files of the page into the empty `folder`. Raises OSError."""
    pages = [(table, line, run) for table in shown for line in table.lines for run in line.runs]
    files = []
    overviews = (writer.overview(name, shown) for name in OVERVIEWS)
    written = (file for page in watched(pages, "pages written") for file in writer.run(*page))
    for name, content in itertools.chain(fixed_files(), overviews, written):
        write_new(folder / name, content)
        files.append(name)
    manifest = {"version": __version__, "files": sorted(files)}
    write_new(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
    return len(pages)
