"""The intervals against scipy's own, and where they must refuse or stay in range."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from zoo.stats import holm, paired_difference, student_interval, verdict, wilson_interval


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


# Differences


def by_seed(values: np.ndarray) -> dict[int, float]:
    """Values with their seeds."""
    return dict(enumerate(values.tolist()))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_paired_is_scipys(n: int) -> None:
    random = np.random.default_rng(n)
    ours, theirs = random.normal(0.9, 0.01, n), random.normal(0.89, 0.01, n)
    found, expected = paired_difference(by_seed(ours), by_seed(theirs), 1e-4), scipy.stats.ttest_rel(ours, theirs)
    assert (found.n, found.difference) == (n, pytest.approx((ours - theirs).mean()))
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)


def test_pairs_are_the_seeds_that_both_have() -> None:
    found = paired_difference({0: 0.9, 1: 0.8, 7: 0.1}, {1: 0.7, 0: 0.7, 8: 0.9}, 1e-4)
    assert (found.n, found.difference) == (2, pytest.approx(0.15))
    assert paired_difference({0: 0.9, 1: 0.8}, {1: 0.7, 2: 0.7}, 1e-4) is None


def test_equal_differences_are_not_certainty() -> None:
    found = paired_difference({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.4999, 1: 0.5999, 2: 0.6999}, 1e-4)
    assert 0.04 < found.p_value < 0.1  # one image more of 10,000 each time: about the rounding itself
    assert paired_difference({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6}, 1e-4).p_value == 1


def test_holm_by_hand() -> None:
    # 3 x 0.01; then 2 x 0.02 = 0.04; then 0.03, which may not be smaller than the one before it.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_verdicts() -> None:
    low, high = {0: 0.800, 1: 0.801, 2: 0.799}, {0: 0.900, 1: 0.902, 2: 0.899}
    better, worse = paired_difference(high, low, 1e-4), paired_difference(low, high, 1e-4)
    assert verdict(better, better.p_value) == "better"
    assert verdict(worse, worse.p_value) == "worse"
    assert verdict(better, 0.05) == "no evidence either way at n=3"
    assert verdict(paired_difference({0: 0.9, 1: 0.9}, {0: 0.1, 1: 0.1}, 1e-4), 0.0) == "needs 3 seeds"
    assert verdict(None, None) == "needs 3 seeds"


@pytest.mark.parametrize("seeds", [3, 5])
def test_simulated_tables_seldom_err(seeds: int) -> None:
    """2,000 tables of five models that do not differ: a false verdict in at most 5 %, intervals that cover 95 %."""
    random = np.random.default_rng(2026)
    tables, models, images = 2000, 5, 10_000
    false = covered = intervals = means_covered = 0
    for _ in range(tables):
        # Seeds differ by 0.3 points and share half of their luck; accuracies come in steps of one image.
        shared = random.normal(0, 0.003, seeds)
        accuracy = 0.9 + (shared + random.normal(0, 0.003, (models, seeds))) / np.sqrt(2)
        accuracy = np.round(accuracy * images) / images
        paired = [paired_difference(by_seed(row), by_seed(accuracy[0]), 1 / images) for row in accuracy[1:]]
        corrected = holm([item.p_value for item in paired])
        words = {verdict(item, p_value) for item, p_value in zip(paired, corrected, strict=True)}
        false += bool(words & {"better", "worse"})
        covered += sum(item.interval[0] <= 0 <= item.interval[1] for item in paired)
        intervals += len(paired)
        low, high = student_interval(accuracy[0].tolist())
        means_covered += low <= 0.9 <= high
    print(f"n={seeds}: false verdicts {false / tables:.3f}, differences covered {covered / intervals:.3f}, "
          f"means covered {means_covered / tables:.3f}")  # fmt: skip
    assert false / tables <= 0.05
    assert abs(covered / intervals - 0.95) <= 0.015
    assert abs(means_covered / tables - 0.95) <= 0.015


def test_a_real_difference_is_found() -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        theirs = random.normal(0.90, 0.002, 5)
        paired = paired_difference(by_seed(theirs + random.normal(0.01, 0.002, 5)), by_seed(theirs), 1e-4)
        found += verdict(paired, paired.p_value) == "better"
    assert found > 190
