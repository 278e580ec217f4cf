"""Speeds with their quartiles: what disturbs one, what a row makes of its runs, and one row's speed over another's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from made_results import compare, result, training

from zoo.comparison.row import Row
from zoo.results.folder import find_results, load_all
from zoo.utils.stats import is_disturbed, quartiles

TRAIN, INFERENCE = "train_images_per_second", "inference_images_per_second"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def row(*changes: dict[str, Any]) -> Row:
    """The row of one model with a seed for each of `changes`."""
    (group,) = compare([result(seed=seed, **change) for seed, change in enumerate(changes)])
    (only,) = group.rows
    return only


def test_quartiles_are_those_of_the_windows() -> None:
    assert quartiles([9.0, 1.0, 2.0, 4.0, 3.0]) == (2.0, 4.0)
    assert quartiles([1.0, 3.0]) == (1.5, 2.5)
    assert quartiles([1.0]) is None
    assert not is_disturbed(100.0, (90.0, 110.0))  # a fifth, no more
    assert is_disturbed(100.0, (90.0, 110.1))
    assert not is_disturbed(100.0, None)


def test_speeds() -> None:
    """The committed BatchNorm runs of the main table, whose speeds varied by half, come out marked."""
    stored = [run for run in load_all(find_results([RESULTS])) if run.result.recipe.slug == "laptop-9c06139e"]
    batch_norm = {run.result.seed: run.result.speed for run in stored if run.result.model.name == "resnet20_bn"}
    assert [TRAIN in batch_norm[seed].disturbed for seed in range(3)] == [True, True, False]
    for seed, share in ((0, 0.51), (1, 0.42), (2, 0.11)):
        low, high = batch_norm[seed].quartiles[TRAIN]
        assert (high - low) / batch_norm[seed].train_images_per_second == pytest.approx(share, abs=0.005)
    assert all(INFERENCE not in speed.quartiles for speed in batch_norm.values())  # of before they were kept


def test_the_docs_say_how_far_the_committed_speeds_varied() -> None:
    runs = load_all(find_results([RESULTS, RESULTS.with_name("studies")]))
    shares = [
        (high - low) / run.result.speed.train_images_per_second
        for run in runs
        for low, high in [run.result.speed.quartiles[TRAIN]]
    ]
    text = (RESULTS.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert f"the range is {min(shares):.2f} to {max(shares):.2f} of the median" in text


def test_a_run_has_its_own_quartiles() -> None:
    quiet = row(training(95, 100, 105) | {"speed__inference_quartiles": (2000.0, 2300.0)})
    assert quiet.quartiles == {TRAIN: (95, 105), INFERENCE: (2000.0, 2300.0)}
    assert (quiet.disturbed, quiet.left_out) == ([], {})


def test_speeds_beside_other_runs_are_disturbed_whatever_their_quartiles() -> None:
    """A bench beside others (``--jobs``): such a run counts only where all are such."""
    beside = {"speed__runs_at_a_time": 2}
    assert set(row(beside).disturbed) == {TRAIN, INFERENCE, "latency_p50", "latency_p99"}
    assert set(row(beside, beside).disturbed) == {TRAIN, INFERENCE, "latency_p50", "latency_p99"}
    mixed = row(beside, {})
    assert (mixed.disturbed, mixed.left_out[TRAIN], mixed.left_out[INFERENCE]) == ([], 1, 1)


def test_latencies_are_disturbed_together() -> None:
    assert row({"speed__latency_quartiles": (0.003, 0.0037)}).disturbed == ["latency_p50", "latency_p99"]


def test_a_disturbed_run_neither_hides_behind_quiet_ones_nor_spoils_them() -> None:
    """One beside a build, whose windows went from 8 to 133 img/s."""
    beside_a_build = training(8, 25, 133)
    some = row(training(430, 440, 450), beside_a_build, training(440, 450, 455))
    assert some.train_images_per_second == 445.0
    assert (some.disturbed, some.left_out) == ([], {TRAIN: 1})
    assert some.inference_images_per_second == 2222.0  # of all three
    alone = row(beside_a_build)
    assert (alone.train_images_per_second, alone.disturbed, alone.left_out) == (25.0, [TRAIN], {})
    both = row(beside_a_build, training(10, 30, 140))
    assert (both.train_images_per_second, both.disturbed, both.left_out) == (27.5, [TRAIN], {})


def test_quiet_runs_of_unlike_speeds_disturb_their_row() -> None:
    """One of two was slowed down from its first window to its last."""
    unlike = row(training(99, 100, 101), training(49, 50, 51))
    assert unlike.quartiles[TRAIN] == (49.75, 100.25)
    assert unlike.disturbed == [TRAIN]


def test_a_run_without_quartiles_counts_as_quiet() -> None:
    """As all did before they were kept."""
    mixed = row({"speed__inference_quartiles": (1000.0, 3000.0)}, {f"speed__{INFERENCE}": 2000.0})
    assert (mixed.inference_images_per_second, mixed.disturbed, mixed.left_out) == (2000.0, [], {INFERENCE: 1})


def relative(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[float | None, float | None]:
    (group,) = compare([result("a_gn", **ours), result("a_bn", correct=8000, **theirs)], "a_bn")
    (mine, base) = group.rows
    assert base.relative_speed is base.relative_speed_error is None
    return mine.relative_speed, mine.relative_speed_error


def test_a_speed_over_the_baselines() -> None:
    """Its error: half the interquartile range of the ratio, of two parts that vary independently."""
    ratio, error = relative(training(97, 100, 103), training(48, 50, 52))
    assert ratio == 2.0
    assert error == pytest.approx(2.0 * math.sqrt(0.03**2 + 0.04**2))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (training(80, 100, 120), training(48, 50, 52)),
        (training(97, 100, 103), training(40, 50, 60)),
        (training(97, 100, 103), training(48, 50, 52) | {"environment__cpu": "CPU two"}),
        ({}, training(48, 50, 52)),
        ({"speed__train_images_per_second": None, "speed__window_rates": []}, training(48, 50, 52)),
    ],
    ids=["disturbed", "disturbed baseline", "other machine", "one window", "no window"],
)
def test_no_ratio_of_what_cannot_be_compared(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert relative(ours, theirs) == (None, None)
