"""From accuracies to verdicts: the one test that every table, page, plot and card shows.

A row differs from the baseline where two tests agree. The first pools the variance over all complete rows of the table
and corrects for their number (Dunnett, 1955, step-down): it finds much with few seeds. The second is Welch's, of the
row and the baseline alone: it guards against a baseline that is noisier than the rest. Both are stricter than 5 %, the
second the more so the more seeds there are, so that looking after every seed leads to no more false verdicts.

The levels were chosen by ``python benchmarks/verdicts.py``, which prints the rates of false verdicts and the power.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from zoo.utils.dunnett import critical_values, step_down
from zoo.utils.stats import ALPHA

MIN_SEEDS = 3  # fewer leave a row's own test one degree of freedom
POOLED_LEVEL = 0.012
OWN_LEVELS = {3: 0.025, 4: 0.012, 5: 0.006}  # by the larger number of seeds of the two
OWN_LEVEL_LATER = 0.004
FLIPS = 0.0882  # of the test images: those that only one of two seeds gets right, the least of all committed pairs
POWER = 0.8
MARGIN = 0.01  # of accuracy: models that are closer count as equal where no other margin is given


@dataclass(frozen=True)
class Sample:
    """The test accuracies of one row's seeds, 0 to 1, and the least variance that one run can have.

    `floor` is that of independent flips of single images, see :func:`variance_of_flips`.
    """

    accuracies: tuple[float, ...]
    floor: float

    @functools.cached_property
    def mean(self) -> float:
        """The mean accuracy."""
        return statistics.fmean(self.accuracies)

    @functools.cached_property
    def variance(self) -> float:
        """The variance of one run, at least :attr:`floor`."""
        mean = self.mean
        squares = math.fsum((accuracy - mean) ** 2 for accuracy in self.accuracies)
        return max(squares / (len(self.accuracies) - 1), self.floor)


@dataclass(frozen=True)
class Bound:
    """What one of the two tests asks of a difference: more than `critical` times its standard error `error`.

    `freedom`: the degrees of freedom of `error`.
    """

    error: float
    freedom: float
    critical: float

    @property
    def half(self) -> float:
        """Half the width of the test's interval."""
        return self.error * self.critical

    @property
    def detectable(self) -> float:
        """The true difference that exceeds the bound with a probability of :data:`POWER` (noncentral t)."""
        return self.error * float(special.nctdtrinc(self.freedom, 1 - POWER, self.critical))


@dataclass(frozen=True)
class Verdict:
    """A row's mean accuracy minus the baseline's, 0.01 being one point. `seeds`: the fewer of the two.

    :attr:`interval` excludes 0 exactly where `p_value` is below 0.05.
    """

    difference: float
    p_value: float
    seeds: int
    pooled: Bound
    own: Bound

    @property
    def interval(self) -> tuple[float, float]:
        """The wider of the two tests' intervals."""
        half = max(self.pooled.half, self.own.half)
        return self.difference - half, self.difference + half

    @property
    def detectable(self) -> float:
        """The true difference that this table finds with a probability of :data:`POWER`, by its own spreads."""
        return max(self.pooled.detectable, self.own.detectable)

    @property
    def differs(self) -> bool:
        """Whether the row differs from the baseline."""
        return self.p_value < ALPHA

    def words(self, margin: float, less: bool = False) -> str:
        """``better``, ``worse``, ``equal within X points`` where the interval lies within `margin`, or ``not
        significant``; with the number of seeds, ``(n=3)``. `less`: the less of it the better.
        """
        if self.differs:
            kind = "better" if (self.difference > 0) != less else "worse"
        elif max(map(abs, self.interval)) < margin:
            kind = f"equal within {100 * margin:g} points"
        else:
            kind = "not significant"
        return f"{kind} (n={self.seeds})"


def variance_of_flips(images: int, flips: float = FLIPS) -> float:
    """The variance of an accuracy over `images` where each seed's answers differ from another's on a share `flips`.

    It is that of independent images: runs vary by more, never by less. With the default 0.21 points at 10,000 images.
    """
    return flips / 2 / images


def pooled_variance(samples: Sequence[Sample]) -> tuple[float, int]:
    """The variance of one run over all `samples`, weighted by their degrees of freedom, and these in all."""
    freedom = sum(len(sample.accuracies) - 1 for sample in samples)
    return sum((len(sample.accuracies) - 1) * sample.variance for sample in samples) / freedom, freedom


def judge(baseline: Sample, rows: Sequence[Sample], columns: int = 1) -> list[Verdict]:
    """Each of `rows` against `baseline`; all have :data:`MIN_SEEDS` seeds and more.

    The family of the correction is `rows`, and the variance is pooled over them and the baseline. `columns`: how many
    metrics are tested so; each is then tested at an equal part of the levels (Bonferroni).
    """
    if not rows:
        return []
    pooled, freedom = pooled_variance([baseline, *rows])
    count, sizes = len(baseline.accuracies), [len(row.accuracies) for row in rows]
    errors = [math.sqrt(pooled * (1 / size + 1 / count)) for size in sizes]
    differences = [row.mean - baseline.mean for row in rows]
    ratios = [difference / error for difference, error in zip(differences, errors, strict=True)]
    corrected = step_down(ratios, sizes, count, freedom)
    bounds = _critical_values(ratios, corrected, sizes, count, freedom, POOLED_LEVEL / columns)
    tests = []
    for row, difference, error, p_pooled, critical in zip(rows, differences, errors, corrected, bounds, strict=True):
        own_error, own_freedom = _welch(row, baseline)
        level = _own_level(max(len(row.accuracies), count)) / columns
        p_own = 2 * float(special.stdtr(own_freedom, -abs(difference) / own_error))
        own = Bound(own_error, own_freedom, float(special.stdtrit(own_freedom, 1 - level / 2)))
        p_value = min(1.0, ALPHA * max(p_pooled * columns / POOLED_LEVEL, p_own / level))
        seeds = min(len(row.accuracies), count)
        tests.append(Verdict(difference, p_value, seeds, Bound(error, freedom, critical), own))
    return tests


def seeds_needed(difference: float, spread: float, rows: int) -> int:
    """The fewest seeds of each model with which a table of `rows` rows and a baseline finds a true `difference`.

    It does so with a probability of :data:`POWER`, where all have the standard deviation `spread`.
    """

    def detectable(seeds: int) -> float:
        error = spread * math.sqrt(2 / seeds)
        own = float(special.stdtrit(2 * (seeds - 1), 1 - _own_level(seeds) / 2))
        freedom = (rows + 1) * (seeds - 1)
        (pooled,) = critical_values((seeds,) * rows, 1, seeds, freedom, POOLED_LEVEL)
        return max(Bound(error, freedom, pooled).detectable, Bound(error, 2 * (seeds - 1), own).detectable)

    high = MIN_SEEDS
    while detectable(high) > difference:
        high *= 2
    low = max(MIN_SEEDS - 1, high // 2)  # too few, or one fewer than the least
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle) <= difference else (middle, high)
    return high


def _own_level(seeds: int) -> float:
    return OWN_LEVELS.get(seeds, OWN_LEVEL_LATER)


def _critical_values(
    ratios: Sequence[float], corrected: Sequence[float], sizes: Sequence[int], baseline: int, freedom: int, level: float
) -> list[float]:
    """For each row the bound of the step that decided about it: its own, or that of the first row that failed."""
    order = sorted(range(len(ratios)), key=lambda row: -abs(ratios[row]))
    failed = next((step for step, row in enumerate(order) if corrected[row] >= level), len(order))
    steps = critical_values([sizes[row] for row in order], failed + 1, baseline, freedom, level)
    bounds = [0.0] * len(ratios)
    for step, row in enumerate(order):
        bounds[row] = steps[min(step, len(steps) - 1)]
    return bounds


def _welch(row: Sample, baseline: Sample) -> tuple[float, float]:
    """The standard error of the difference and its degrees of freedom (Welch, 1947)."""
    parts = [(sample.variance / len(sample.accuracies), len(sample.accuracies) - 1) for sample in (row, baseline)]
    total = sum(part for part, _ in parts)
    return math.sqrt(total), total**2 / sum(part**2 / freedom for part, freedom in parts)
