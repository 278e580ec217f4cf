"""Statistics as pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special


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
