"""How many seeds a difference of a given size needs, by the spread that the stored seeds show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.comparison.baseline import UNCOMMITTED
from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.comparison.verdict import MIN_SEEDS, Sample, pooled_variance, seeds_needed
from zoo.errors import Message, Option, ResultError
from zoo.registry.model import registry_name
from zoo.results.recipe_source import options_for
from zoo.utils.stats import spread_interval

POINTS = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Need:
    """Of one table: `spread` is the standard deviation of a model's seeds, pooled over its `rows` and the baseline.

    `seeds` maps a true difference, in points of accuracy, to the seeds of each model that find it with probability
    :data:`zoo.comparison.verdict.POWER`, if the spread is the upper end of `spread_interval` (95 %). `budget` is the
    group's.
    """

    dataset: str
    dataset_fingerprint: str
    recipe: str
    budget: dict[str, Any] | None
    selection: str
    baseline: str
    rows: int
    spread: float
    spread_interval: tuple[float, float]
    seeds: dict[float, int]


def needs(groups: Sequence[Group], points: Sequence[float] = POINTS) -> list[Need]:
    """One :class:`Need` for each table of which some rows and the baseline have seeds enough for a verdict.

    With fewer the spread is as good as unknown. Raises :class:`ResultError` where no table has.
    """
    needed = []
    for group in groups:
        tested = [row for row in group.rows if row.against and row.against.p_value is not None]
        base = next((row for row in group.rows if row.against is None), None)
        if base is None or not tested:
            continue
        variance, freedom = pooled_variance([_sample(row) for row in (base, *tested)])
        spread = math.sqrt(variance)
        interval = spread_interval(spread, freedom + 1)
        needed.append(
            Need(
                dataset=group.dataset,
                dataset_fingerprint=group.dataset_fingerprint,
                recipe=group.slug,
                budget=group.budget,
                selection=group.selection,
                baseline=base.model,
                rows=len(tested),
                spread=spread,
                spread_interval=interval,
                seeds={size: seeds_needed(size / 100, interval[1], len(tested)) for size in points},
            )
        )
    rows = [row.against for group in groups for row in group.rows if row.against]
    if not needed and any(against.verdict.startswith(UNCOMMITTED) for against in rows):
        raise ResultError(
            Option("power"), f": no row has a verdict, and some have {UNCOMMITTED}; take these too with ",
            Option("allow_dirty"),
        )  # fmt: skip
    if not needed:
        raise ResultError(
            Option("power"),
            f": no model and its baseline have {MIN_SEEDS} seeds each, so their spread cannot be estimated; ",
            *_more_seeds(groups),
        )
    return needed


def _more_seeds(groups: Sequence[Group]) -> Message:
    """The command that gives the models of the first group with a baseline as many seeds as are needed."""
    seeds = Option("seeds", str(MIN_SEEDS))
    for group in groups:
        stored = [run for row in group.rows for run in row.tested.values()]
        recipe = options_for(stored[0].result.recipe) if stored and group.budget is None else None
        if recipe is not None:
            words = [part for option in (*recipe, Option("dataset", group.dataset), seeds) for part in (" ", option)]
            models = " ".join(registry_name(row.model) for row in group.rows)
            return (f"run `zoo bench {models}", *words, "`")
    return ("run `zoo bench` with ", seeds)


def _sample(row: Row) -> Sample:
    """The accuracies of a row, with the spread that they show."""
    return Sample(tuple(run.result.test.accuracy for run in row.tested.values()), floor=0.0)


def too_few(groups: Sequence[Group]) -> list[str]:
    """The rows that :func:`needs` leaves out, in words."""
    return [
        f"{row.model} under {group.slug} ({row.against.verdict})"
        for group in groups
        for row in group.rows
        if row.against and row.against.p_value is None
    ]
