"""Statistics as pure functions of numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence

from scipy import special

ALPHA = 0.05  # what the p-value of a verdict lies below
ALIKE = 0.01  # of the largest: sizes that differ by less are no axis of a plot
DISTURBED = 0.2  # of the median: where the quartiles of a speed are further apart, something disturbed it

Range = tuple[float, float]


def student_interval(values: Sequence[float], level: float = 0.95, resolution: float = 0.0) -> tuple[float, float]:
    """The confidence interval of the mean of at least two independent `values` (Student's t).

    `resolution` is the step that the values come in: their spread is taken to be at least that of the rounding, the
    root of 1/12 of a step.
    """
    n = len(values)
    if n < 2:
        raise ValueError("a Student interval needs at least two values")
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    deviation = max(deviation, resolution / math.sqrt(12))
    half = _student_quantile(n - 1, 0.5 + level / 2) * deviation / math.sqrt(n)
    return mean - half, mean + half


@functools.lru_cache(maxsize=1024)  # the rows of a table have a few numbers of seeds
def _student_quantile(freedom: int, share: float) -> float:
    return float(special.stdtrit(freedom, share))


def wilson_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion of `hits` in `n` (Wilson, 1927); the proportion is never outside it."""
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} hits of {n} is no proportion")
    z = float(special.ndtri(0.5 + level / 2))
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and at `n` an end is the proportion itself, which rounding would miss.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def half_of_draw(images: int) -> float:
    """How far an accuracy may be off by the draw of that many test images alone: the most, with a level of 95 %."""
    low, high = wilson_interval(images // 2, images)
    return (high - low) / 2


def quartiles(values: Sequence[float]) -> Range | None:
    """The lower and the upper quartile of `values`; None of fewer than two."""
    if len(values) < 2:
        return None
    ordered, last = sorted(values), len(values) - 1

    def cut(quarters: int) -> float:  # as statistics.quantiles(values, n=4, method="inclusive"), in half the time
        place, share = divmod(quarters * last, 4)
        return (ordered[place] * (4 - share) + ordered[min(place + 1, last)] * share) / 4

    return cut(1), cut(3)


def is_disturbed(median: float, quartiles: Range | None) -> bool:
    """Whether the `quartiles` of a speed are more than :data:`DISTURBED` of its `median` apart; not so without them."""
    return quartiles is not None and quartiles[1] - quartiles[0] > DISTURBED * median


def images_p_value(only_ours: int, only_theirs: int) -> float:
    """McNemar's exact test (1947) of two classifiers on the same images; each was right alone on so many of them."""
    differing = only_ours + only_theirs
    return min(1.0, 2 * float(special.bdtr(min(only_ours, only_theirs), differing, 0.5))) if differing else 1.0


def spread_interval(spread: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a standard deviation that `n` values gave (chi-squared)."""
    tail = (1 - level) / 2
    low, high = (spread * math.sqrt((n - 1) / float(special.chdtri(n - 1, share))) for share in (tail, 1 - tail))
    return low, high


def alike(values: Collection[float]) -> bool:
    """Whether `values` differ by less than :data:`ALIKE` of the largest; one value, or none, does not differ."""
    return not values or max(values) == min(values) or max(values) - min(values) < ALIKE * max(values)


def pareto_front(points: Sequence[tuple[float, float] | None], *, smaller: bool) -> list[int]:
    """Indices of `points` (cost, gain) that no other point beats, by cost ascending; None is no point.

    A point is beaten by one that is no worse in both and better in one; equal points stand or fall together. `smaller`
    says that a smaller cost is better (parameters), else a larger one is (speed).
    """
    sign = 1 if smaller else -1
    ranked = sorted((sign * point[0], -point[1], index) for index, point in enumerate(points) if point is not None)
    kept: list[tuple[float, float, int]] = []
    for cost, gain, index in ranked:
        if not kept or gain < kept[-1][1] or (cost, gain) == kept[-1][:2]:
            kept.append((cost, gain, index))
    return [index for _, _, index in (kept if smaller else reversed(kept))]
