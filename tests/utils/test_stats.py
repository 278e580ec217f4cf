"""The intervals against scipy's own, and where they must refuse or stay in range."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from zoo.utils.stats import (
    holm,
    paired_difference,
    paired_images,
    paired_power,
    pareto_front,
    seeds_needed,
    spread_interval,
    student_interval,
    verdict,
    wilson_interval,
)


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


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 0), (5, 5), (6, 5), (40, 12), (0, 30), (1200, 1100)])
def test_mcnemar_is_the_binomial_test_of_the_images_that_differ(ours: int, theirs: int) -> None:
    expected = scipy.stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    found, mirrored = paired_images(ours, theirs, 10_000), paired_images(theirs, ours, 10_000)
    assert found.p_value == mirrored.p_value == pytest.approx(expected, rel=1e-9)
    assert found.difference == -mirrored.difference == (ours - theirs) / 10_000
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.interval == pytest.approx([-bound for bound in reversed(mirrored.interval)])


def test_mcnemar_of_a_published_table() -> None:
    # Agresti, Categorical Data Analysis (3rd ed., table 11.1): approval of the prime minister, 86 and 150 of 1,600
    # changed their minds; the 95 % Wald interval of the difference is (-0.059, -0.021).
    found = paired_images(86, 150, 1600)
    assert found.difference == pytest.approx(-0.04)
    assert found.interval == pytest.approx((-0.059, -0.021), abs=6e-4)
    assert found.p_value == pytest.approx(scipy.stats.binomtest(86, 236).pvalue)


@pytest.mark.parametrize(("ours", "theirs", "images"), [(-1, 0, 10), (6, 5, 10), (0, 0, 0)])
def test_mcnemar_refuses_what_cannot_be(ours: int, theirs: int, images: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        paired_images(ours, theirs, images)


def test_mcnemar_interval_covers() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(2000):
        ours, theirs, _ = random.multinomial(10_000, [0.05, 0.04, 0.91])
        low, high = paired_images(int(ours), int(theirs), 10_000).interval
        covered += low <= 0.01 <= high
    assert abs(covered / 2000 - 0.95) <= 0.015


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_are_the_published_ones(effect: float, pairs: int) -> None:
    # Cohen's small, medium and large effect, two-sided 5 %, power 80 %, as G*Power 3 has them (Faul, 2007).
    assert seeds_needed(effect, 1.0) == pairs
    assert paired_power(effect, 1.0, pairs) >= 0.8 > paired_power(effect, 1.0, pairs - 1)


def test_power_is_what_a_simulation_finds() -> None:
    random = np.random.default_rng(4)
    samples = random.normal(0.5, 1.0, (20_000, 10))
    found = (scipy.stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
    assert paired_power(0.5, 1.0, 10) == pytest.approx(found, abs=0.01)
    assert paired_power(0.0, 1.0, 10) == pytest.approx(0.05)


@pytest.mark.parametrize("tests", [1, 4, 12, 18])
def test_power_rises_with_the_seeds(tests: int) -> None:
    """Also far out, where scipy's noncentral t has no number."""
    for spread in (0.02, 0.1, 0.2, 0.4, 1.0, 10.0):
        powers = [paired_power(1.0, spread, n, 0.05 / tests) for n in range(2, 60)]
        assert all(0 <= power <= 1 + 1e-12 for power in powers)
        assert all(after >= before - 1e-9 for before, after in itertools.pairwise(powers))


def test_seeds_needed_in_a_table_of_thirteen() -> None:
    samples = np.random.default_rng(6).normal(1.0, 0.2, (20_000, 5))
    for count in (3, 4, 5):
        found = (scipy.stats.ttest_1samp(samples[:, :count], 0, axis=1).pvalue < 0.05 / 12).mean()
        assert paired_power(1.0, 0.2, count, 0.05 / 12) == pytest.approx(found, abs=0.01)
    assert seeds_needed(1.0, 0.2, 0.05 / 12) == 5


def test_seeds_needed_is_never_less_than_a_verdict_needs() -> None:
    assert seeds_needed(100, 1.0) == 3
    assert seeds_needed(0.5, 1.0, alpha=0.01) > 34


def test_spread_interval_covers() -> None:
    random = np.random.default_rng(5)
    intervals = [spread_interval(random.normal(0, 2.0, 4).std(ddof=1), 4) for _ in range(4000)]
    assert np.mean([low <= 2.0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.015)


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
    assert verdict(paired_images(500, 5, 10_000), 0.0) == "these two runs differ; needs 3 seeds"
    assert verdict(paired_images(500, 499, 10_000), 0.9) == "no evidence either way at n=1"
    assert verdict(None, None, 2) == "needs 3 seeds"
    assert verdict(None, None, 3) == "needs 3 common seeds"
    assert verdict(paired_images(500, 5, 10_000), 0.0, 3) == "these two runs differ; needs 3 common seeds"


@pytest.mark.parametrize("seeds", [3, 5])
def test_simulated_tables_seldom_err(seeds: int, figure: Callable[..., None]) -> None:
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
    figure(
        f"{tables} simulated tables of {seeds} seeds",
        f"false verdicts {100 * false / tables:.1f} %, differences covered {100 * covered / intervals:.1f} %, "
        f"means covered {100 * means_covered / tables:.1f} %",
    )
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
