"""Dunnett's many-to-one distribution: several means against that of one baseline, with a common variance.

The statistics share the baseline's mean and the estimate of the variance. Given both, they are independent, so that
the probability is an integral over two variables (Dunnett, 1955), computed here by quadrature: the same bits each time.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# Nodes of the baseline's mean and of the standard deviation: p-values are right to 2e-6 from 4 degrees of freedom on.
MEANS, SPREADS = 40, 20
BLOCK = 1000  # rows at a time: the nodes of 100,000 would fill the memory
CLOSE = 1e-7
REACH, TAIL = 6.0, 1e-7  # of the normal variable, and of the chi variable's distribution


@functools.cache
def _nodes(df: int) -> tuple[Array, Array, Array]:
    """Nodes of the baseline's mean and of the standard deviation over its true value, and their weights: (P,) each."""
    # The trapezoidal rule, exponentially good for such integrands; both halves of the nodes give the same.
    mean = np.linspace(-REACH, REACH, MEANS)[MEANS // 2 :]
    mean_weight = np.exp(-(mean**2) / 2)
    position, position_weight = np.polynomial.legendre.leggauss(SPREADS)
    low, high = np.sqrt(special.chdtri(df, np.array([1 - TAIL, TAIL])) / df)
    spread = (high - low) / 2 * position + (high + low) / 2
    log_density = (df - 1) * np.log(spread) - df * spread**2 / 2  # a chi variable's, up to a factor
    spread_weight = position_weight * np.exp(log_density - log_density.max())
    weight = np.outer(mean_weight / mean_weight.sum(), spread_weight / spread_weight.sum())
    return np.repeat(mean, SPREADS), np.tile(spread, MEANS // 2), weight.ravel()


def _log_inside(bounds: Array, sizes: Sequence[int], baseline: int, df: int) -> Array:
    """log P(|T| <= bound) given each node, for rows of each of `sizes` seeds: (B bounds, D sizes, P nodes)."""
    mean, spread, _ = _nodes(df)
    share = np.array(sizes) / (np.array(sizes) + baseline)  # the squared loading on the baseline's mean
    loading, own = np.sqrt(share)[None, :, None], np.sqrt(1 - share)[None, :, None]
    reach = bounds[:, None, None] * spread
    inside = special.ndtr((reach + loading * mean) / own) - special.ndtr((loading * mean - reach) / own)
    return np.asarray(np.log(np.maximum(inside, 1e-300)))


def step_down(statistics: Sequence[float], sizes: Sequence[int], baseline: int, df: int) -> list[float]:
    """Two-sided p-values of `statistics`, corrected for being several (Dunnett and Tamhane, 1991), in their order.

    `statistics`: differences of means over their standard errors from the pooled variance with `df` degrees of freedom.
    `sizes`: the seeds of each row, `baseline` those of the baseline. The largest statistic is tested among all rows,
    the next among those that remain, and so on; no p-value is below that of a larger statistic.
    """
    order = sorted(range(len(statistics)), key=lambda row: -abs(statistics[row]))
    kinds = sorted(set(sizes))
    _, _, weight = _nodes(df)
    remaining = Counter(sizes)
    corrected, largest = [1.0] * len(order), 0.0
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        inside = _log_inside(np.array([abs(statistics[row]) for row in rows]), kinds, baseline, df)
        for step, row in enumerate(rows):
            counts = np.array([remaining[kind] for kind in kinds])
            largest = max(largest, 1 - float(np.exp(counts @ inside[step]) @ weight))
            corrected[row] = min(1.0, max(0.0, largest))
            remaining[sizes[row]] -= 1
        if largest >= 1:  # and so are all that come after
            break
    return corrected


def critical_values(sizes: Sequence[int], steps: int, baseline: int, df: int, level: float) -> list[float]:
    """What the largest of the statistics of rows with `sizes` seeds exceeds with probability `level`; then the same
    without the first row, and so on: so many `steps`, at most one for each row.

    `baseline`: the seeds of the baseline, `df`: the degrees of freedom of the variance.
    """
    remaining, values = Counter(sizes), list[float]()
    for size in sizes[:steps]:
        near = values[-1] if values else None
        values.append(_critical_value(tuple(sorted(remaining.items())), baseline, df, level, near))
        remaining[size] -= 1
        if not remaining[size]:
            del remaining[size]
    return values


@functools.lru_cache(maxsize=2**16)
def _critical_value(
    counts: tuple[tuple[int, int], ...], baseline: int, df: int, level: float, near: float | None
) -> float:
    """The first of :func:`critical_values` for so many rows of each size; `near` is known to be close to it."""
    kinds, numbers = zip(*counts, strict=True)
    _, _, weight = _nodes(df)

    def excess(bound: float) -> tuple[float, float]:
        """The probability beyond `bound` less the `level`, and its slope there."""
        inside, slopes = _log_inside(np.array([bound]), kinds, baseline, df), _slopes(bound, kinds, baseline, df)
        together = np.exp(np.array(numbers) @ inside[0]) * weight
        return 1 - float(together.sum()) - level, -float(together @ (np.array(numbers) @ (slopes / np.exp(inside[0]))))

    single = float(special.stdtrit(df, 1 - level / 2))  # of one row alone: the smallest that it can be
    many = float(special.stdtrit(df, 1 - level / 2 / sum(numbers)))  # Bonferroni's: the largest
    return single if math.isclose(single, many) else _root(excess, single * 0.999, many * 1.001, near)


def _slopes(bound: float, sizes: Sequence[int], baseline: int, df: int) -> Array:
    """The slope of exp(:func:`_log_inside`) at `bound`: (D sizes, P nodes)."""
    mean, spread, _ = _nodes(df)
    share = np.array(sizes) / (np.array(sizes) + baseline)
    loading, own = np.sqrt(share)[:, None], np.sqrt(1 - share)[:, None]
    ends = [((bound * spread + sign * loading * mean) / own) for sign in (1, -1)]
    return np.asarray(sum(np.exp(-(end**2) / 2) for end in ends) * spread / own / math.sqrt(2 * math.pi))


def _root(falling: Callable[[float], tuple[float, float]], low: float, high: float, near: float | None) -> float:
    """Where a function that gives its value and its slope falls through 0 between `low` and `high` (Newton's method).

    `near` is close to it, where that is known.
    """
    point = (low + high) / 2 if near is None else near
    while True:
        height, slope = falling(point)
        low, high = (point, high) if height > 0 else (low, point)
        better = point - height / slope if slope else math.inf
        if abs(better - point) < CLOSE * point:  # the error is squared by each step
            return better
        point = better if low < better < high else (low + high) / 2
