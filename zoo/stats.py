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
    """A mean difference over `n` pairs, its 95 % interval, and the two-sided p-value of "no difference"."""

    n: int
    difference: float
    interval: tuple[float, float]
    p_value: float


def student_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The confidence interval of the mean of at least two independent `values` (Student's t)."""
    n = len(values)
    if n < 2:
        raise ValueError("a Student interval needs at least two values")
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
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

    Accuracies come in steps of `resolution` (1 / images, above 0), so that few pairs can differ by exactly the same
    amount; the spread is taken to be at least that of the rounding, the root of 1/6 of a step.
    """
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (n - 1))
    error = max(spread, resolution / math.sqrt(6)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 1 - ALPHA / 2)) * error
    p_value = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    return Paired(n, mean, (mean - half, mean + half), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """`p_values` corrected for being several, in their order (Holm, 1979): 0.05 of these errs in 5 % of tables."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def verdict(paired: Paired | None, corrected_p: float | None) -> str:
    """In words: ``better``, ``worse``, or why neither is said."""
    if paired is None or paired.n < MIN_SEEDS:
        return f"needs {MIN_SEEDS} seeds"
    if corrected_p >= ALPHA:
        return f"no evidence either way at n={paired.n}"
    return "better" if paired.difference > 0 else "worse"
