"""What the web page shows, as rows for its templates: every figure comes from :mod:`zoo.comparison`."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.comparison.groups import Group, by_machine, compare
from zoo.comparison.row import Row
from zoo.results.folder import RunFolder, Stored
from zoo.results.schema import Result


@dataclass(frozen=True)
class Page:
    """One run with a page of its own. `alone` is the run as the only row of a table, `machine` its machine in words."""

    id: str
    stored: Stored
    alone: Row
    machine: str

    @property
    def result(self) -> Result:
        """The run's result."""
        return self.stored.result

    @property
    def where(self) -> str:
        """The folder that a bench gives such a run, from the data set on: no path of one machine is shown."""
        result = self.result
        folder = RunFolder.of(Path(), result.dataset.name, result.recipe.slug, result.model.name, result.seed)
        return folder.path.as_posix()


@dataclass(frozen=True)
class Line:
    """One row of a leaderboard with its runs by seed. `band`: interval and mean, 0 to 1 on the table's scale."""

    row: Row
    runs: list[Page]
    architecture: str
    band: tuple[float, float, float] | None


@dataclass(frozen=True)
class Table:
    """One group of :func:`zoo.comparison.groups.compare`. `content` is the recipe's, `id` the table's anchor in the
    page.
    """

    id: str
    group: Group
    lines: list[Line]
    slug: str
    content: dict[str, object]

    @property
    def runs(self) -> list[Page]:
        """All runs, row by row."""
        return [run for line in self.lines for run in line.runs]

    @property
    def compared(self) -> bool:
        """Whether rows have a difference from a baseline."""
        return any(line.row.against for line in self.lines)


def tables(runs: Sequence[Stored], baseline: str | None = None) -> list[Table]:
    """One table per data set and recipe fingerprint, as ``zoo compare`` makes them; those of most runs first.

    Raises as :func:`compare` does.
    """
    groups = compare(runs, baseline)
    members: dict[tuple[str, str], list[Page]] = defaultdict(list)
    for page in _pages(runs):
        members[page.result.dataset.fingerprint, page.result.recipe.fingerprint].append(page)
    found = [(group, members[group.dataset_fingerprint, group.recipe_fingerprint]) for group in groups]
    found.sort(key=lambda item: (item[0].dataset, -len(item[1])))
    return [_table(f"table-{number}", group, pages) for number, (group, pages) in enumerate(found, 1)]


def run_id(folder: Path, model: str, seed: int) -> str:
    """A name for a run's files, the same for the same folder: readable, and safe whatever the model is called."""
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", model)[:60].strip("-")
    return f"{readable}-seed{seed}-{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}".lstrip("-")


def architecture(result: Result) -> str:
    """Its name, or a dash for a model with a builder of its own."""
    told = result.model.definition.get("architecture")
    return str(told["name"]) if isinstance(told, dict) and "name" in told else "–"


def _pages(runs: Iterable[Stored]) -> list[Page]:
    """In the order in which rows pool them; a copy of a result is the same run."""
    pages: list[Page] = []
    seen: dict[tuple[object, ...], Result] = {}
    for stored in sorted(runs, key=lambda run: (run.result.model.name, run.result.seed)):
        result = stored.result
        (group,) = compare([stored])
        (machine,) = group.machines.values()
        page = Page(run_id(stored.folder.path, result.model.name, result.seed), stored, group.rows[0], machine)
        who = (result.dataset.fingerprint, result.recipe.fingerprint, *_model(page), machine, result.seed)
        if seen.setdefault(who, result) is result:
            pages.append(page)
    return pages


def _model(page: Page) -> tuple[str, str]:
    """What the runs of one row share."""
    model = page.result.model
    return (model.name, json.dumps(model.definition, sort_keys=True))


def _table(anchor: str, group: Group, pages: Sequence[Page]) -> Table:
    models: dict[tuple[str, str], list[Page]] = defaultdict(list)
    for page in pages:
        models[_model(page)].append(page)
    left = [runs for pages_of in models.values() for runs, _ in by_machine(pages_of)]
    scale = _scale(group.rows)
    lines = []
    for row in group.rows:
        runs = next(members for members in left if _is_row(row, group.machines[row.machine], members))
        left.remove(runs)
        lines.append(Line(row, runs, architecture(runs[0].result), _band(row, scale)))
    first = lines[0].runs[0].result
    return Table(anchor, group, lines, first.recipe.slug, first.recipe.content)


def _is_row(row: Row, machine: str, runs: Sequence[Page]) -> bool:
    accuracies = [run.result.test.accuracy if run.result.test else None for run in runs]
    told = (runs[0].result.model.name, [run.result.seed for run in runs], accuracies)
    return told == (row.model, row.seeds, row.accuracies) and machine in {run.machine for run in runs}


def _scale(rows: Sequence[Row]) -> tuple[float, float]:
    """The smallest and the largest accuracy that any interval of the table reaches."""
    ends = [min(max(end, 0.0), 1.0) for row in rows if row.interval for end in row.interval]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _band(row: Row, scale: tuple[float, float]) -> tuple[float, float, float] | None:
    if row.interval is None or row.accuracy is None:
        return None
    low, high = scale
    width = (high - low) or 1.0

    def place(accuracy: float) -> float:
        return min(max((accuracy - low) / width, 0.0), 1.0)

    return place(row.interval[0]), place(row.accuracy), place(row.interval[1])
