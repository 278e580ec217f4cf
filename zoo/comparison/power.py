"""How many seeds a difference of a given size needs, by the spread that the stored seeds show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.comparison.groups import Group
from zoo.errors import Option, ResultError
from zoo.utils.stats import ALPHA, MIN_SEEDS, seeds_needed, spread_interval

POWER = 0.8
POINTS = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Need:
    """Of one model against the baseline: `spread` is the standard deviation of the paired differences of accuracy.

    `seeds` maps a true difference, in points of accuracy, to the number of seeds that finds it with probability
    :data:`POWER`, at the level that Holm leaves the smallest of the table's `tests` p-values. `budget` is the group's.
    """

    dataset: str
    dataset_fingerprint: str
    recipe: str
    budget: dict[str, Any] | None
    selection: str
    baseline: str
    model: str
    pairs: int
    tests: int
    spread: float
    spread_interval: tuple[float, float]
    seeds: dict[float, int]


def needs(groups: Sequence[Group], points: Sequence[float] = POINTS) -> list[Need]:
    """One :class:`Need` for each row that has at least :data:`MIN_SEEDS` seeds in common with its table's baseline.

    With fewer the spread is as good as unknown. Raises :class:`ResultError` where no row has so many.
    """
    needed = []
    for group in groups:
        tests = sum(row.against is not None and row.against.p_value is not None for row in group.rows)
        for row in group.rows:
            if row.against is None or row.against.spread is None or row.against.pairs < MIN_SEEDS:
                continue
            spread = row.against.spread
            needed.append(
                Need(
                    dataset=group.dataset,
                    dataset_fingerprint=group.dataset_fingerprint,
                    recipe=group.slug,
                    budget=group.budget,
                    selection=row.selection,
                    baseline=row.against.baseline,
                    model=row.model,
                    pairs=row.against.pairs,
                    tests=tests,
                    spread=spread,
                    spread_interval=spread_interval(spread, row.against.pairs),
                    seeds={size: seeds_needed(size / 100, spread, ALPHA / tests, POWER) for size in points},
                )
            )
    if not needed:
        raise ResultError(
            Option("power"),
            f": no model has {MIN_SEEDS} seeds in common with the baseline, so that next to nothing is known of "
            "the spread; run `zoo bench` with ",
            Option("seeds", str(MIN_SEEDS)),
            " or more",
        )
    return needed


def too_few(groups: Sequence[Group]) -> list[str]:
    """The rows that :func:`needs` leaves out, in words."""
    return [
        f"{row.model} under {group.slug} ({row.against.pairs} common seed{'s' * (row.against.pairs != 1)})"
        for group in groups
        for row in group.rows
        if row.against and row.against.pairs < MIN_SEEDS
    ]
