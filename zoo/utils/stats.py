"""Statistics as pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

ALPHA = 0.05
MIN_SEEDS = 3  # a verdict over fewer pairs would rest on one degree of freedom


@dataclass(frozen=True)
class Paired:
    """A mean difference over `n` pairs of runs, its 95 % interval, and the two-sided p-value of "no difference".

    `spread` is the standard deviation of the differences; None for one pair, which has none.
    """

    n: int
    difference: float
    interval: tuple[float, float]
    p_value: float
    spread: float | None


def student_interval(values: Sequence[float], level: float = 0.95, resolution: float = 0.0) -> tuple[float, float]:
    """The confidence interval of the mean of at least two independent `values` (Student's t).

    `resolution` is the step that the values come in, as in :func:`paired_difference`: their spread is taken to be at
    least that of the rounding, of single values the root of 1/12 of a step.
    """
    n = len(values)
    if n < 2:
        raise ValueError("a Student interval needs at least two values")
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    deviation = max(deviation, resolution / math.sqrt(12))
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def wilson_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion of `hits` in `n` (Wilson, 1927)."""
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} hits of {n} is no proportion")
    z = float(special.ndtri(0.5 + level / 2))
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float], resolution: float) -> Paired | None:
    """Student's paired t-test of ours minus theirs over the keys (seeds) that both have; None for fewer than two.

    Figures come in steps of `resolution` (above 0; of accuracies 1 / images), so that few pairs can differ by exactly
    the same amount; the spread is taken to be at least that of the rounding, the root of 1/6 of a step.
    """
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (n - 1))
    spread = max(spread, resolution / math.sqrt(6))
    error = spread / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 1 - ALPHA / 2)) * error
    p_value = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    return Paired(n, mean, (mean - half, mean + half), p_value, spread)


def paired_images(only_ours: int, only_theirs: int, images: int) -> Paired:
    """Two classifiers on the same `images`, of which `only_ours` were right for the first only and so on.

    The p-value is McNemar's (1947), exact: of the images on which they differ, either is right with probability 1/2.
    The interval is Agresti and Min's (2005).
    """
    if min(only_ours, only_theirs) < 0 or only_ours + only_theirs > images or images == 0:
        raise ValueError(f"{only_ours} and {only_theirs} of {images} images cannot be")
    differing = only_ours + only_theirs
    p_value = min(1.0, 2 * float(special.bdtr(min(only_ours, only_theirs), differing, 0.5))) if differing else 1.0
    z, n = float(special.ndtri(1 - ALPHA / 2)), images + 2
    centre = (only_ours - only_theirs) / n
    half = z * math.sqrt((differing + 1) - (only_ours - only_theirs) ** 2 / n) / n
    return Paired(1, (only_ours - only_theirs) / images, (centre - half, centre + half), p_value, None)


def paired_power(effect: float, spread: float, n: int, alpha: float = ALPHA) -> float:
    """The chance that a paired t-test of `n` pairs finds a true difference of `effect` (noncentral t).

    `spread` is the standard deviation of the paired differences; `alpha` the two-sided level of the test.
    """
    df, shift = n - 1, abs(effect) / spread * math.sqrt(n)
    bound = float(special.stdtrit(df, 1 - alpha / 2))
    return 1 - _noncentral(df, shift, bound) + _noncentral(df, shift, -bound)


def _noncentral(df: int, shift: float, bound: float) -> float:
    """P(t <= `bound`), noncentral; scipy gives nan where that is next to nothing (below 1e-8 wherever it was seen)."""
    value = float(special.nctdtr(df, shift, bound))
    return 0.0 if math.isnan(value) else value


def seeds_needed(effect: float, spread: float, alpha: float = ALPHA, power: float = 0.8) -> int:
    """The fewest pairs, at least :data:`MIN_SEEDS`, with which the test of :func:`paired_power` has that `power`."""
    high = MIN_SEEDS
    while paired_power(effect, spread, high, alpha) < power:
        high *= 2
    low = max(MIN_SEEDS - 1, high // 2)  # too few, or one fewer than the least
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(effect, spread, middle, alpha) >= power else (middle, high)
    return high


def spread_interval(spread: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a standard deviation that `n` values gave (chi-squared)."""
    tail = (1 - level) / 2
    low, high = (spread * math.sqrt((n - 1) / float(special.chdtri(n - 1, share))) for share in (tail, 1 - tail))
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """`p_values` corrected for being several, in their order (Holm, 1979): 0.05 of these errs in 5 % of tables."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


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


def verdict(paired: Paired | None, corrected_p: float | None, seeds: int = 0) -> str:
    """In words: ``better``, ``worse``, or why neither is said. `seeds`: how many each of the two models has or more."""
    needs = f"needs {MIN_SEEDS} {'common ' if seeds >= MIN_SEEDS else ''}seeds"
    if paired is None or corrected_p is None or paired.n == 2:
        return needs
    if corrected_p >= ALPHA:
        return f"no evidence either way at n={paired.n}"
    if paired.n < MIN_SEEDS:  # one pair: two networks differ, of two models it says little
        return f"these two runs differ; {needs}"
    return "better" if paired.difference > 0 else "worse"
