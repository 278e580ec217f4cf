"""The intervals against scipy's own, and where they must refuse or stay in range."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from zoo.stats import student_interval, wilson_interval


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_student_is_scipys(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(0.9, 0.02, n)
    expected = scipy.stats.t.interval(level, n - 1, values.mean(), scipy.stats.sem(values))
    assert student_interval(values.tolist(), level) == pytest.approx(expected, rel=1e-12)


def test_student_default_is_95_percent() -> None:
    # By hand: mean 2, standard deviation 1, t(2 degrees, 0.975) = 4.302653, over the root of 3.
    assert student_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)


def test_student_of_equal_values_has_no_width() -> None:
    assert student_interval([0.9, 0.9, 0.9]) == (0.9, 0.9)


@pytest.mark.parametrize("values", [[], [0.9]])
def test_student_needs_two_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        student_interval(values)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 10), (8299, 10_000), (9_999, 10_000)])
def test_wilson_is_scipys(hits: int, n: int, level: float) -> None:
    expected = scipy.stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    assert wilson_interval(hits, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_default_is_95_percent() -> None:
    assert wilson_interval(83, 100) == pytest.approx((0.7445, 0.8911), abs=5e-5)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 10), (11, 10), (0, -1)])
def test_wilson_refuses_what_is_no_proportion(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson_interval(hits, n)


@pytest.mark.parametrize("n", [1, 7, 10_000])
def test_wilson_stays_within_0_and_1_and_is_never_a_point(n: int) -> None:
    for hits in (0, n):
        low, high = wilson_interval(hits, n)
        assert 0.0 <= low < high <= 1.0
        assert low - 1e-15 <= hits / n <= high + 1e-15
