"""What the web page shows, as rows for its templates: every figure comes from :mod:`zoo.comparison`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.comparison.groups import Group, compare
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
    """One group of :func:`zoo.comparison.groups.compare`. `content` is the recipe's, `id` an anchor in the page."""

    id: str
    group: Group
    lines: list[Line]
    slug: str
    content: Mapping[str, object]

    @property
    def runs(self) -> list[Page]:
        """All runs, row by row."""
        return [run for line in self.lines for run in line.runs]

    def on(self, machine: str) -> Group:
        """The group of the rows whose speeds are of the `machine` of that letter."""
        return replace(self.group, rows=[row for row in self.group.rows if row.machine == machine])

    @property
    def compared(self) -> bool:
        """Whether rows have a difference from a baseline."""
        return any(line.row.against for line in self.lines)


def tables(runs: Sequence[Stored], baseline: str | None = None, allow_dirty: bool = False) -> list[Table]:
    """One table per data set and recipe fingerprint, as ``zoo compare`` makes them; those of most runs first.

    Raises as :func:`compare` does.
    """
    groups = compare(runs, baseline, allow_dirty=allow_dirty)
    groups.sort(key=lambda group: (group.dataset, -sum(len(row.runs) for row in group.rows)))
    return [_table(f"table-{number}", group) for number, group in enumerate(groups, 1)]


def run_id(folder: Path, model: str, seed: int) -> str:
    """A name for a run's files, the same for the same folder: readable, and safe whatever the model is called."""
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", model)[:60].strip("-")
    return f"{readable}-seed{seed}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]}".lstrip("-")


def architecture(result: Result) -> str:
    """Its name, or a dash for a model with a builder of its own."""
    return result.model.definition.get("architecture", {}).get("name", "–")


def _page(run: Stored) -> Page:
    (group,) = compare([run])
    (machine,) = group.machines.values()
    return Page(run_id(run.folder.path, run.result.model.name, run.result.seed), run, group.rows[0], machine)


def _table(anchor: str, group: Group) -> Table:
    # The scale is from the smallest to the largest accuracy that any interval of the table reaches.
    ends = [min(max(end, 0.0), 1.0) for row in group.rows if row.interval for end in row.interval] or [0.0, 1.0]
    low, width = min(ends), (max(ends) - min(ends)) or 1.0

    def band(row: Row) -> tuple[float, float, float] | None:
        if row.interval is None or row.accuracy is None:
            return None
        start, mean, end = (
            min(max((accuracy - low) / width, 0.0), 1.0)
            for accuracy in (row.interval[0], row.accuracy, row.interval[1])
        )
        return start, mean, end

    lines = [
        Line(row, [_page(run) for run in row.runs], architecture(row.runs[0].result), band(row)) for row in group.rows
    ]
    recipe = group.rows[0].runs[0].result.recipe
    return Table(anchor, group, lines, recipe.slug, recipe.content)
