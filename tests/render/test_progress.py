"""What a training shows as it goes: lines of 80 columns, a bar from the first step on, and the time that is left."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zoo.registry.merge import load_registry
from zoo.render import progress, time_left
from zoo.render.time_left import TimeLeft
from zoo.results.folder import RunFolder
from zoo.results.history import EpochRow
from zoo.results.run import Run
from zoo.utils import waiting

ROW = EpochRow(
    epoch=1, lr=0.1, running_train_loss=1.2345, running_train_accuracy=0.5, eval_split="holdout", eval_loss=1.5,
    eval_accuracy=0.4567, train_images_per_second=1234.5, train_seconds=10.0, eval_seconds=1.0,
)  # fmt: skip
RUNS = [
    Run(model, seed, RunFolder.of(Path("runs"), "cifar10", "standard-12345678", model.name, seed))
    for seed in (0, 1)
    for model in load_registry().match(["resnet18_bn", "resnet18_ln"])
]


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time_left.time, "monotonic", clock)
    return clock


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A reporter of the style, and what it has written: through ``shown(style, together)``."""

    def make(style: str, together: bool = False) -> tuple[progress.Silent, io.StringIO]:
        text = io.StringIO()
        monkeypatch.setattr("sys.stderr", text)
        monkeypatch.setattr(waiting, "style", style)
        return progress.make_reporter(False, together), text

    return make


@pytest.mark.parametrize("epochs", [1, 40, 300, 5000])
@pytest.mark.parametrize("split", ["holdout", "test", None])
@pytest.mark.parametrize("rate", [0.4, 1234.5, 2_345_678.0])
def test_lines_of_an_epoch_fit_80_columns(
    shown: Any, clock: Clock, epochs: int, split: str | None, rate: float
) -> None:
    reporter, text = shown("plain")
    reporter.plan({run.folder.path: 1.0 for run in RUNS})
    reporter.run(RUNS[0], 1, len(RUNS))
    reporter.stepped(1, epochs, 0, 10)
    for epoch in (1, epochs):
        clock.now += 100.0
        evaluated = {} if split else {"eval_loss": None, "eval_accuracy": None}
        row = replace(ROW, epoch=epoch, eval_split=split, train_images_per_second=rate, **evaluated)
        reporter.epoch(row, epochs, None, split is not None)
    _, *lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80, "\n".join(lines)
    heads = [line for line in lines if "epoch " in line and "img/s" in line]
    assert len(heads) == 1  # the names stand above the numbers, once a run
    assert ("holdout" in heads[0]) == (split == "holdout")


def test_the_names_stand_over_their_numbers(shown: Any, clock: Clock) -> None:
    reporter, text = shown("plain")
    reporter.plan({run.folder.path: 1.0 for run in RUNS})
    reporter.run(RUNS[0], 1, 4)
    reporter.stepped(1, 40, 0, 10)
    clock.now = 100.0
    reporter.epoch(ROW, 40, None, True)
    assert text.getvalue().splitlines() == [
        f"[1/4] resnet18_bn seed 0: {RUNS[0].model.label}",
        "  *: the best epoch so far on the holdout images; its weights are kept",
        "  epoch  train loss   acc %  holdout loss    acc %   img/s  run left  all left",
        "   1/40       1.234   50.00         1.500   45.67*   1,234   1:05:00   4:25:00",
    ]


def test_the_time_of_all_runs_is_that_of_this_one_and_those_to_come(clock: Clock) -> None:
    """Runs of twice the work take twice the time; what was done before takes none."""
    small, large, stored = Path("a/0"), Path("b/0"), Path("c/0")
    left = TimeLeft({small: 1.0, large: 2.0, stored: 5.0})
    left.begin(stored)
    left.end(stored, was_done=True)
    left.begin(small)
    left.reach(small, 0.0)
    assert (left.of_run, left.of_all) == (None, None)
    clock.now = 10.0
    left.reach(small, 0.25)
    assert left.of_run == pytest.approx(30)
    assert left.of_all == pytest.approx(30 + 80)
    clock.now = 40.0
    left.end(small, was_done=False)
    left.begin(large)
    left.reach(large, 0.0)
    clock.now = 60.0
    left.reach(large, 0.25)
    assert left.of_run == pytest.approx(60)
    assert left.of_all == pytest.approx(60)


def test_a_resumed_run_is_timed_by_what_it_does_now(clock: Clock) -> None:
    folder = Path("a/0")
    left = TimeLeft({folder: 1.0})
    left.begin(folder)
    left.begin(folder, 0.5)
    left.reach(folder, 0.5)
    clock.now = 10.0
    left.reach(folder, 0.75)
    assert left.of_run == pytest.approx(10)


def test_runs_of_a_model_that_failed_take_no_time(clock: Clock) -> None:
    left = TimeLeft({Path("a/0"): 1.0, Path("a/1"): 1.0, Path("b/0"): 1.0, Path("b/1"): 1.0})
    left.begin(Path("a/0"))
    left.drop(Path("a"))
    left.begin(Path("b/0"))
    left.reach(Path("b/0"), 0.0)
    clock.now = 10.0
    left.reach(Path("b/0"), 0.5)
    assert left.of_all == pytest.approx(30)


def test_runs_at_the_same_time_share_the_time_that_is_left(shown: Any, clock: Clock) -> None:
    reporter, text = shown("plain", together=True)
    reporter.plan({run.folder.path: 1.0 for run in RUNS})
    for run in RUNS[:2]:
        reporter.began(run, "here", 1)
    clock.now = 100.0
    for run in RUNS[:2]:
        reporter.advanced(run, replace(ROW, epoch=1), 2)
    last = text.getvalue().splitlines()[-1]
    assert last.endswith("all left 0:05:00")  # two halves of four runs in 100 s
    assert len(last) <= 80


def test_a_bar_is_there_before_the_first_step_has_ended(shown: Any, clock: Clock) -> None:
    reporter, text = shown("bar")
    with reporter:
        reporter.run(RUNS[0], 1, 1)
        reporter.stepped(1, 40, 0, 90)
        reporter.bars.refresh()
        assert "epoch 1/40" in text.getvalue()
        clock.now = 60.0
        reporter.stepped(1, 40, 1, 90)
        reporter.bars.refresh()
        assert re.search(r"1 %.*left 59:59:00", text.getvalue())


@pytest.mark.parametrize("columns", ["40", "60", "80", "200"])
def test_the_bar_fits_the_terminal(shown: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    reporter, text = shown("bar")
    reporter.plan({run.folder.path: 1.0 for run in RUNS})
    with reporter:
        reporter.run(RUNS[0], 1, 4)
        reporter.stepped(1, 40, 0, 90)
        clock.now = 60.0
        reporter.window(1, 40, 9, 90, 1.2345, 0.5, 1234.5)
        reporter.stepped(1, 40, 9, 90)
        reporter.bars.refresh()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    drawn = [line for line in re.split(r"[\r\n]", plain) if "epoch 1/40" in line]
    assert drawn
    assert max(map(len, drawn)) <= int(columns)
    assert ("loss 1.2" in plain) == (columns == "200")
    assert "%" in drawn[-1]


def test_no_progress_leaves_what_is_said_beside_it(shown: Any) -> None:
    reporter, text = shown("none")
    with reporter:
        reporter.run(RUNS[0], 1, 1)
        reporter.epoch(ROW, 40, None, True)
        reporter.say("zoo: a model failed")
    assert text.getvalue() == "zoo: a model failed\n"
