"""Records of ``zoo evaluate`` as tables, and every model against a baseline in each column of a table."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from zoo.comparison.baseline import Difference, against, why_not, withheld
from zoo.comparison.verdict import Sample, variance_of_flips
from zoo.registry.model import registry_name
from zoo.results.schema import Diverged
from zoo.trained.robustness import RUNNING, Record

Metric = Callable[[Record], float | None]
Kind = Literal["own images", "other images", "batch sizes", "corruptions"]
Key = TypeVar("Key", bound=Hashable)
Line = tuple[str, tuple[str, int]]  # model; mode and batch size, 0 where batch sizes are columns


@dataclass(frozen=True)
class Column:
    """A metric of a table, a share of the images: of each seed the mean of `read` over the records that it `holds`.

    `less`: the less of it the better.
    """

    name: str
    read: Metric
    holds: Callable[[Record], bool]
    less: bool = False


@dataclass(frozen=True)
class Table:
    """Records of one recipe on one dataset, as in `zoo compare`: nothing else may be ranked.

    `rows`: best model first. `columns`: what models are compared in; none of a run's own test images, evaluated as
    usual.
    """

    records: list[Record]
    kind: Kind
    rows: Mapping[Line, list[Record]]
    columns: list[Column]


@dataclass(frozen=True)
class Contrast:
    """What the `records` of a row in a column differ by from the baseline's.

    `columns`: how many of the table are tested, in every pass; p-value and interval are corrected for all of them.
    """

    row: Line
    column: str
    records: list[Record]
    columns: int
    against: Difference


def tables(records: Iterable[Record]) -> list[Table]:
    """The tables that `records` make."""
    return [_table(group) for group in by(records, experiment).values()]


def experiment(record: Record) -> tuple[str, str, str]:
    """What the records of one table share."""
    return record.trained_on_fingerprint, record.recipe_fingerprint, record.dataset


def contrasts(
    records: Iterable[Record], baseline: str, diverged: Iterable[Diverged], margin: float, allow_dirty: bool = False
) -> list[Contrast]:
    """Every model against the `baseline`, in each column and pass of every table that has it.

    A model of which a seed `diverged` gets no verdict, nor one of uncommitted changes, unless `allow_dirty`. `margin`:
    the difference in accuracy below which models count as equal.
    """
    lost = {(run.dataset.fingerprint, run.recipe.fingerprint, registry_name(run.model.name)) for run in diverged}

    def seed_lost(record: Record) -> bool:
        return (record.trained_on_fingerprint, record.recipe_fingerprint, record.model) in lost

    def reason(base: Sequence[Record], cell: Sequence[Record]) -> str | None:
        dirty = [not allow_dirty and any(record.uncommitted for record in records) for records in (base, cell)]
        return why_not(_seeds(base), _seeds(cell), seed_lost(base[0]) or seed_lost(cell[0]), withheld(*dirty))

    return [contrast for table in tables(records) for contrast in _contrasts(table, baseline, reason, margin)]


def seed_means(records: Iterable[Record], metric: Metric) -> list[float]:
    """The mean of `metric` over the records of each seed; none where a record lacks it."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for record in records:
        if (number := metric(record)) is None:
            return []
        seeds[record.seed].append(number)
    return [statistics.fmean(numbers) for numbers in seeds.values()]


def by(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """`records` by what `key` makes of them."""
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return dict(groups)


def _table(records: list[Record]) -> Table:
    first = records[0]
    if any(record.corruption for record in records):
        return Table(records, "corruptions", _rows(records, _corrupted), _corruptions(records))
    if len({(record.mode, record.batch_size) for record in records}) > 1:
        sizes = sorted({record.batch_size for record in records})
        columns = [Column(f"batch {size}", _accuracy, _with(batch_size=size)) for size in sizes]
        return Table(records, "batch sizes", _rows(records, _with(mode=RUNNING), sizes=True), columns)
    if first.dataset_fingerprint == first.trained_on_fingerprint:
        return Table(records, "own images", _rows(records, _with()), [])
    columns = [Column(f"{first.dataset} %", _accuracy, _with()), Column("lost", _gap, _with(), less=True)]
    return Table(records, "other images", _rows(records, _with()), columns)


def _corruptions(records: Sequence[Record]) -> list[Column]:
    """A column per corruption, the mean of its severities; of one corruption alone, a column per severity."""
    names = list(dict.fromkeys(record.corruption for record in records if record.corruption))
    severities = sorted({record.severity for record in records if record.severity})
    columns = [Column(name, _accuracy, _with(corruption=name)) for name in names]
    if len(names) == 1:
        columns = [Column(f"{names[0]} {level}", _accuracy, _with(severity=level)) for level in severities]
    if len(columns) > 1:
        columns.append(Column("mean", _accuracy, _corrupted))
    if any(record.corruption is None for record in records):
        columns.insert(0, Column("clean", _accuracy, _with(corruption=None)))
    return [*columns, Column("lost", _gap, _corrupted, less=True)]


def _rows(records: Sequence[Record], counts: Callable[[Record], bool], sizes: bool = False) -> dict[Line, list[Record]]:
    """The rows of a table, models ranked by the accuracy of the records that count; `sizes`: they are its columns."""
    best: dict[str, float] = {}
    for model, members in by(records, lambda r: r.model).items():
        accuracies = [r.accuracy for r in members if counts(r) and r.accuracy is not None]
        best[model] = statistics.fmean(accuracies) if accuracies else -1.0
    rows = by(records, lambda r: (r.model, (r.mode, 0 if sizes else r.batch_size)))
    order = sorted(rows, key=lambda row: (-best[row[0]], row[0], row[1][0] != RUNNING, row[1][1]))
    return {row: rows[row] for row in order}


def _contrasts(
    table: Table, baseline: str, reason: Callable[[Sequence[Record], Sequence[Record]], str | None], margin: float
) -> list[Contrast]:
    families = []
    for column, how in itertools.product(table.columns, dict.fromkeys(how for _, how in table.rows)):
        cells = {
            row: cell
            for row, members in table.rows.items()
            if row[1] == how and seed_means(cell := [record for record in members if column.holds(record)], column.read)
        }
        if base := cells.pop((baseline, how), None):
            families.append((column, base, cells))
    reasons = [[reason(base, cell) for cell in cells.values()] for _, base, cells in families]
    columns = sum(None in family for family in reasons)
    contrasts = []
    for (column, base, cells), family in zip(families, reasons, strict=True):
        others = [_sample(cell, column) for cell in cells.values()]
        shifts = against(baseline, _sample(base, column), others, family, margin, columns=columns, less=column.less)
        contrasts += [
            Contrast(row, column.name, cell, columns, replace(shift, batch_dependent=_batch(base, cell)))
            for (row, cell), shift in zip(cells.items(), shifts, strict=True)
        ]
    order = list(table.rows)
    return sorted(contrasts, key=lambda contrast: order.index(contrast.row))


def _sample(cell: Sequence[Record], column: Column) -> Sample:
    """The seeds of a cell. Its least variance is that of its images, which are the same under every corruption."""
    return Sample(tuple(seed_means(cell, column.read)), variance_of_flips(cell[0].images))


def _seeds(cell: Sequence[Record]) -> int:
    return len({record.seed for record in cell})


def _batch(*cells: Sequence[Record]) -> int | None:
    """The largest batch that predictions of some of `cells` depend on."""
    sizes = [record.batch_dependent for cell in cells for record in cell if record.batch_dependent is not None]
    return max(sizes, default=None)


def _accuracy(record: Record) -> float | None:
    return record.accuracy


def _gap(record: Record) -> float | None:
    return record.gap


def _corrupted(record: Record) -> bool:
    return record.corruption is not None


def _with(**fields: object) -> Callable[[Record], bool]:
    """Whether a record has these."""
    return lambda record: all(getattr(record, name) == wanted for name, wanted in fields.items())
