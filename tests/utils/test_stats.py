"""The intervals against scipy's own, and where they must refuse or stay in range."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from zoo.utils.stats import images_p_value, pareto_front, spread_interval, student_interval, wilson_interval


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


def test_student_spread_is_at_least_that_of_the_rounding() -> None:
    # By hand: a step of 1, standard deviation 1 / root of 12, t(2 degrees, 0.975) = 4.302653, over the root of 3.
    assert student_interval([6, 6, 6], resolution=1) == pytest.approx((6 - 0.717109, 6 + 0.717109), abs=1e-6)
    assert student_interval([1, 2, 3], resolution=1) == student_interval([1, 2, 3])  # more than the rounding


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


def test_row_12_wilson_holds_the_proportion_at_both_ends() -> None:
    """Plots draw the distances to the ends, and none of these may be below 0."""
    for n in [*range(1, 2000), 10_000, 10**6, 10**9, 2**53]:
        assert wilson_interval(0, n)[0] == 0.0
        assert wilson_interval(n, n)[1] == 1.0
        for hits in (0, 1, n // 2, n - 1, n):
            low, high = wilson_interval(hits, n)
            assert 0.0 <= low <= hits / n <= high <= 1.0
            assert low < high


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (5, 5), (6, 5), (40, 12), (0, 30), (1200, 1100)])
def test_mcnemar_is_the_binomial_test_of_the_images_that_differ(ours: int, theirs: int) -> None:
    expected = scipy.stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert images_p_value(ours, theirs) == images_p_value(theirs, ours) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_means_cover(seeds: int) -> None:
    random = np.random.default_rng(2026)
    samples = np.round(random.normal(0.9, 0.003, (2000, seeds)), 4)
    covered = sum(low <= 0.9 <= high for low, high in map(student_interval, samples.tolist()))
    assert abs(covered / 2000 - 0.95) <= 0.015


def test_spread_interval_covers() -> None:
    random = np.random.default_rng(5)
    intervals = [spread_interval(random.normal(0, 2.0, 4).std(ddof=1), 4) for _ in range(4000)]
    assert np.mean([low <= 2.0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.015)


def test_pareto_front() -> None:
    accuracies = [0.9, 0.8, 0.95, 0.7, 0.95]
    points = list(zip([1, 1, 2, 0.5, 3], accuracies, strict=True))
    assert pareto_front(points, smaller=True) == [3, 0, 2]
    assert pareto_front(points, smaller=False) == [4]  # the fastest and the best
    assert pareto_front([(200, 0.9), None, (300, 0.8), (100, 0.85)], smaller=False) == [0, 2]
    assert pareto_front([(1, 0.5), (1, 0.5), (1, 0.4)], smaller=True) == [0, 1]  # equals stand together
    assert pareto_front([None], smaller=True) == []


@pytest.mark.parametrize("smaller", [False, True])
def test_pareto_front_is_that_of_its_definition(smaller: bool) -> None:
    pairs = np.random.default_rng(0).integers(0, 12, (200, 2)).tolist()
    points = [(cost, gain) for cost, gain in pairs if gain <= (cost if smaller else 12 - cost)]  # many, with ties
    sign = 1 if smaller else -1

    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a != b and sign * a[0] <= sign * b[0] and a[1] >= b[1]

    wanted = {i for i, point in enumerate(points) if not any(beats(other, point) for other in points)}
    found = pareto_front(points, smaller=smaller)
    assert len(found) == len(set(found)) > 3
    assert set(found) == wanted
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)
