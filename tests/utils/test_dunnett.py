"""Dunnett's distribution against published tables, scipy's simulation and Student's t."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from scipy import special

from zoo.utils.dunnett import critical_values, step_down


@pytest.mark.parametrize(
    ("rows", "baseline", "df", "level", "critical"),
    # Two-sided 5 % points of Dunnett (1964), the first and the third to two digits; then with rows of 8 seeds.
    [(2, 4, 10, 0.05, 2.57), (4, 4, 20, 0.05, 2.65), (5, 8, 60, 0.01, 3.19)],
)
def test_critical_values_are_those_of_the_tables(
    rows: int, baseline: int, df: int, level: float, critical: float
) -> None:
    assert critical_values((baseline,) * rows, 1, baseline, df, level) == [pytest.approx(critical, abs=0.006)]


def test_critical_values_agree_with_adaptive_integration() -> None:
    """The definition, integrated to 1e-9: over the baseline's mean and the standard deviation."""
    sizes, baseline, df = (3, 5, 9), 4, 14
    (critical,) = critical_values(sizes, 1, baseline, df, 0.012)

    def density(spread: float, mean: float) -> float:
        inside = 1.0
        for size in sizes:
            loading = math.sqrt(size / (size + baseline))
            own = math.sqrt(1 - loading**2)
            inside *= special.ndtr((critical * spread + loading * mean) / own)
            inside -= (
                inside
                / special.ndtr((critical * spread + loading * mean) / own)
                * special.ndtr((loading * mean - critical * spread) / own)
            )
        chi = scipy.stats.chi.pdf(spread * math.sqrt(df), df) * math.sqrt(df)
        return inside * chi * math.exp(-(mean**2) / 2) / math.sqrt(2 * math.pi)

    probability, _ = scipy.integrate.dblquad(density, -8, 8, 0.05, 4, epsabs=1e-9)
    assert 1 - probability == pytest.approx(0.012, abs=1e-6)


@pytest.mark.parametrize("df", [4, 8, 26, 200])
def test_one_row_is_students_t(df: int) -> None:
    for statistic in (0.0, 1.0, -2.5, 6.0):
        (p_value,) = step_down([statistic], [3], 5, df)
        assert p_value == pytest.approx(2 * special.stdtr(df, -abs(statistic)), abs=2e-6)
    assert critical_values((3,), 1, 5, df, 0.05) == [pytest.approx(special.stdtrit(df, 0.975), abs=1e-4)]


def test_the_largest_of_several_rows_has_scipys_single_step_p_value() -> None:
    random = np.random.default_rng(3)
    for sizes in ([4, 4, 4], [3, 5, 9, 4]):
        rows = [random.normal(0.8 * index, 1, size) for index, size in enumerate(sizes)]
        baseline = random.normal(0, 1, 4)
        table = [baseline, *rows]
        freedom = sum(map(len, table)) - len(table)
        pooled = sum(((values - values.mean()) ** 2).sum() for values in table) / freedom
        ratios = [
            (values.mean() - baseline.mean()) / np.sqrt(pooled * (1 / len(values) + 1 / len(baseline)))
            for values in rows
        ]
        theirs = scipy.stats.dunnett(*rows, control=baseline, random_state=1)
        ours = step_down(ratios, sizes, len(baseline), freedom)
        largest = int(np.argmax(np.abs(ratios)))
        assert ratios == pytest.approx(list(theirs.statistic))
        assert ours[largest] == pytest.approx(theirs.pvalue[largest], abs=1e-3)
        assert all(mine <= other + 1e-3 for mine, other in zip(ours, theirs.pvalue, strict=True))


def test_each_step_is_among_the_rows_that_remain() -> None:
    ratios, sizes = [1.0, -4.0, 2.5], [3, 3, 4]
    first, second, third = step_down(ratios, sizes, 3, 9)
    assert second == step_down([-4.0, 0, 0], sizes, 3, 9)[0] or second < third
    assert third == pytest.approx(step_down([2.5, 0.0], [4, 3], 3, 9)[0])
    assert first == pytest.approx(max(third, step_down([1.0], [3], 3, 9)[0]))
    assert step_down([3.0, 3.0], [3, 3], 3, 9)[0] == step_down([3.0, 3.0], [3, 3], 3, 9)[1]


def test_no_p_value_leaves_its_range() -> None:
    assert step_down([], [], 3, 4) == []
    for statistic in (0.0, 1e-12, 1e3, 1e9):
        for p_value in step_down([statistic] * 3, [3, 4, 5], 3, 11):
            assert 0 <= p_value <= 1
