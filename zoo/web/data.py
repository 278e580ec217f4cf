"""What the web page shows, as rows for its templates: every figure comes from :mod:`zoo.comparison`."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from zoo.comparison.groups import Group, compare, machine_of
from zoo.comparison.row import Row, row_of
from zoo.render.headings import headings
from zoo.results.folder import RunFolder, Stored
from zoo.results.schema import Result


@dataclass(frozen=True)
class Page:
    """One run with a page of its own."""

    id: str
    stored: Stored

    @property
    def result(self) -> Result:
        """The run's result."""
        return self.stored.result

    @cached_property
    def alone(self) -> Row:
        """The run as the only row of a table."""
        return row_of([self.stored], [self.stored], "a", ["1"], None)

    @property
    def machine(self) -> str:
        """Its machine in words."""
        return machine_of(self.result)

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
    """One group of :func:`zoo.comparison.groups.compare`. `content` is the recipe's; `id` is an anchor in the page, the
    same whatever other tables there are. `apart`: what tells it from the others, see :mod:`zoo.render.headings`.
    """

    id: str
    group: Group
    lines: list[Line]
    slug: str
    content: Mapping[str, object]
    apart: str

    @property
    def runs(self) -> list[Page]:
        """All runs, row by row."""
        return [run for line in self.lines for run in line.runs]

    @cached_property
    def by_machine(self) -> dict[str, list[Line]]:
        """The lines by the letter of the machine whose speeds they have."""
        lines: dict[str, list[Line]] = defaultdict(list)
        for line in self.lines:
            lines[line.row.machine].append(line)
        return {letter: lines[letter] for letter in self.group.machines if letter in lines}

    def on(self, lines: Sequence[Line]) -> Group:
        """The group with the rows of these `lines` alone."""
        return replace(self.group, rows=[line.row for line in lines])

    @cached_property
    def compared(self) -> bool:
        """Whether rows have a difference from a baseline."""
        return any(line.row.against for line in self.lines)

    @cached_property
    def parted(self) -> bool:
        """Whether the speeds in it are of several machines."""
        return len(self.group.machines) > 1 or any(line.row.elsewhere for line in self.lines)


def tables(runs: Sequence[Stored], baseline: str | None = None, allow_dirty: bool = False) -> list[Table]:
    """One table per data set and recipe fingerprint, as ``zoo compare`` makes them; those of most runs first.

    Raises as :func:`compare` does.
    """
    groups = compare(runs, baseline, allow_dirty=allow_dirty)
    groups.sort(key=lambda group: (group.dataset, -sum(len(row.runs) for row in group.rows)))
    return [_table(group, apart) for group, apart in zip(groups, headings(groups), strict=True)]


def run_id(folder: Path, model: str, seed: int) -> str:
    """A name for a run's files, the same for the same folder: readable, and safe whatever the model is called."""
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", model)[:60].strip("-")
    return f"{readable}-seed{seed}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]}".lstrip("-")


def architecture(result: Result) -> str:
    """Its name, or a dash for a model with a builder of its own."""
    return result.model.definition.get("architecture", {}).get("name", "–")


def _table(group: Group, apart: str) -> Table:
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
        Line(
            row,
            [Page(run_id(run.folder.path, run.result.model.name, run.result.seed), run) for run in row.runs],
            architecture(row.runs[0].result),
            band(row),
        )
        for row in group.rows
    ]
    recipe = group.rows[0].runs[0].result.recipe
    anchor = hashlib.sha256(f"{group.dataset_fingerprint} {group.recipe_fingerprint}".encode()).hexdigest()[:10]
    return Table(f"table-{anchor}", group, lines, recipe.slug, recipe.content, apart)
