"""When a state is written on an accelerator, and what becomes of the epochs that were not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pretended_device
import pytest
import torch
from tiny_training import CLASSES, CPU, IDENTITY, IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, Silent, recipe, same
from torch import nn

from zoo.cluster.slurm import Task
from zoo.data.loader import Batching, EvalLoader, TrainLoader
from zoo.engine import saving
from zoo.engine.checkpoint import Progress, SavedState, load_state
from zoo.engine.saving import Saver
from zoo.engine.train import Batches, Outcome, train
from zoo.errors import MachineError
from zoo.recipes.recipe import Recipe
from zoo.results.folder import RunFolder
from zoo.results.history import load_history
from zoo.utils.distributed import SINGLE_PROCESS

META = torch.device("meta")
KINDS = {
    "adamw+ema": (
        "optimizer={name: adamw, lr: 0.01, betas: [0.9, 0.99], weight_decay: 0.01, decay_norm_and_bias: false}",
        "ema.decay=0.9",
    ),
    "muon+fp16+plateau": (
        "precision=fp16",
        "optimizer={name: muon, lr: 0.05, momentum: 0.9, nesterov: false, adamw_lr_scale: 0.08, betas: [0.9, 0.95], "
        "weight_decay: 0.01, decay_norm_and_bias: true}",
        "schedule={name: plateau, warmup_epochs: 0, factor: 0.5, patience: 1, threshold: 10}",
    ),
    "lookahead+last": ("lookahead={every: 3, decay: 0.9, power: 1}", "selection.rule=last"),
}
EPOCHS = 4


class Stop(Exception):
    """Of a reporter, where it ends a training."""


# When


class Clock:
    """Epochs of `epoch` seconds, whose states take `cost` seconds to write; `epochs` has those that were written."""

    def __init__(self, patch: pytest.MonkeyPatch, epoch: float, cost: float, device: torch.device = META) -> None:
        self.now, self.cost, self.epoch, self.epochs = 0.0, cost, epoch, list[int]()
        patch.setattr(saving.time, "monotonic", lambda: self.now)
        patch.setattr(saving, "save_state", self.save)
        self.saver = Saver(Path("state.pt"), device, self.epochs.append)

    def save(self, path: Path, state: SavedState) -> None:
        self.now += self.cost

    def run(self, epochs: int) -> list[int]:
        with self.saver as saver:
            for number in range(1, epochs + 1):
                self.now += self.epoch
                saver.finished(state_of(number), last=number == epochs)
        return self.epochs


def state_of(epoch: int) -> SavedState:
    return SavedState(IDENTITY, Progress(epoch), 0.1, {"weight": torch.ones(2)}, {}, {})


@pytest.mark.parametrize(
    ("epoch", "cost", "written"),
    [
        (8.0, 0.1, list(range(1, 41))),  # 2 % of 8 s is 0.16 s
        (8.0, 0.4, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 37, 40]),  # 0.4 s is 2 % of 20 s
        (8.0, 2.5, [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 40]),  # at latest after 30 s; the last one in any case
        (100.0, 9.0, list(range(1, 41))),  # more than 30 s an epoch
    ],
)
def test_a_state_of_134_mb_is_not_written_after_every_epoch_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, epoch: float, cost: float, written: list[int]
) -> None:
    assert Clock(monkeypatch, epoch, cost).run(40) == written


def test_a_cpu_writes_every_epoch_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Clock(monkeypatch, 8.0, 100.0, CPU).run(5) == [1, 2, 3, 4, 5]


def test_a_disk_that_is_full_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, tries = Clock(monkeypatch, 8.0, 0.1), []

    def full(path: Path, state: SavedState) -> None:
        tries.append(state.progress.epoch)
        raise MachineError("no space left")

    monkeypatch.setattr(saving, "save_state", full)
    with pytest.raises(MachineError, match="no space"):
        clock.run(3)
    assert tries == [1]


# What is in it


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is taken for a device that writes the first epoch, the last one, and what an interruption leaves."""
    monkeypatch.setattr(saving, "every_epoch", lambda device: False)
    monkeypatch.setattr(saving, "SHARE", 0.0)


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(24, CLASSES),
    )  # fmt: skip


def run(folder: Path, wanted: Recipe, reporter: Any = None, state: SavedState | None = None) -> Outcome:
    folder.mkdir(exist_ok=True)
    batching = Batching(wanted.batch_size, 1, SINGLE_PROCESS, wanted.drop_last)
    loader = TrainLoader(IMAGES, LABELS, wanted.augment.train, batching)
    selection = EvalLoader(TEST_IMAGES, TEST_LABELS, wanted.augment.eval, batch_size=16)
    return train(
        network(), wanted, Batches(loader, selection), device=CPU, compiled=False, state=state,
        folder=RunFolder(folder), identity=IDENTITY, reporter=reporter or Silent(),
    )  # fmt: skip


class Interrupted(Silent):
    """Ends the training by `kind` in the middle of the epoch after `epoch`; `written` has the states that were."""

    def __init__(self, epoch: int, kind: type[BaseException], before: Any = None) -> None:
        super().__init__()
        self.after, self.kind, self.before, self.states = epoch, kind, before, list[int]()

    def written(self, epoch: int) -> None:
        self.states.append(epoch)

    def window(self, epoch: int, *more: Any) -> None:
        if epoch > self.after:
            if self.before:
                self.before()
            raise self.kind


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_writes_the_last_finished_epoch_and_a_resume_gives_the_same_bits(
    tmp_path: Path, kind: str
) -> None:
    wanted = recipe(*KINDS[kind], f"epochs={EPOCHS}")
    whole = run(tmp_path / "whole", wanted)
    for epoch, problem in ((1, Stop), (2, KeyboardInterrupt), (3, SystemExit)):
        folder = tmp_path / str(epoch)
        stopped = Interrupted(epoch, problem)
        with pytest.raises(problem):
            run(folder, wanted, stopped)
        assert stopped.states == sorted({1, epoch})
        state = load_state(folder / "state.pt")
        assert state is not None
        assert state.progress.epoch == len(load_history(folder / "history.csv")) == epoch
        again = run(folder, wanted, state=state)
        assert same(again.weights, whole.weights)
        assert again.progress.best_epoch == whole.progress.best_epoch


@pytest.mark.usefixtures("accelerator")
def test_lost_epochs_are_replaced_after_a_kill(tmp_path: Path) -> None:
    """The folder as `kill -9` in the fourth epoch leaves it: three epochs in the history, one in the state."""
    wanted, killed = recipe(f"epochs={EPOCHS}"), tmp_path / "killed"
    whole = run(
        tmp_path / "whole", wanted, Silent(lambda epoch: epoch == 3 and shutil.copytree(tmp_path / "whole", killed))
    )
    state = load_state(killed / "state.pt")
    assert state is not None
    assert (state.progress.epoch, len(load_history(killed / "history.csv"))) == (1, 3)
    seen = []
    watching = Silent(lambda epoch: seen.append((epoch, len(load_history(killed / "history.csv")))))
    watching.resumed = lambda epoch, epochs: seen.append((epoch, len(load_history(killed / "history.csv"))))
    again = run(killed, wanted, watching, state)
    assert seen == [(epoch, epoch) for epoch in range(1, EPOCHS + 1)]
    assert same(again.weights, whole.weights)


@pytest.mark.usefixtures("accelerator")
def test_a_history_without_a_state_is_of_epochs_that_are_lost(tmp_path: Path) -> None:
    """As a kill between the two leaves it; a run that then diverges at once has none."""
    run(tmp_path, recipe())
    (tmp_path / "state.pt").unlink()
    with pytest.raises(Stop):
        run(tmp_path, recipe(), Interrupted(0, Stop))
    assert load_history(tmp_path / "history.csv") == []


@pytest.mark.usefixtures("accelerator")
def test_slurm_signal_writes_the_last_finished_epoch_before_the_job_is_queued_again(tmp_path: Path) -> None:
    """The job is over before anything unwinds, as when Slurm kills it while it queues it again."""
    saved = []

    def signalled() -> None:
        Task().checkpoint(object())
        state = load_state(tmp_path / "state.pt")
        saved.append(state.progress.epoch if state else None)

    with pytest.raises(Stop):
        run(tmp_path, recipe("epochs=5"), Interrupted(3, Stop, before=signalled))
    assert saved == [3]


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no backends in Python",
)
def test_a_bench_on_an_accelerator_that_is_terminated_loses_no_finished_epoch(tmp_path: Path) -> None:
    """On a pretended device, through the command line; the weights are those of a run that was left alone."""
    command = (
        "-- bench resnet20_bn --recipe smoke --set epochs=6 --set split.train=320 --set split.holdout=64 "
        "--device pretend --layout nchw --runs {}"
    )
    process = subprocess.Popen(
        [sys.executable, pretended_device.__file__, *command.format("stopped").split()],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = []
        for line in process.stderr or ():
            lines.append(line)
            if line.strip().startswith("3/6 "):
                process.terminate()
        process.wait(60)
    finally:
        process.kill()
    (folder,) = tmp_path.glob("stopped/shapes10/*/resnet20_bn/seed0")
    state = load_state(folder / "state.pt")
    assert state is not None, "".join(lines)
    assert 3 <= state.progress.epoch == len(load_history(folder / "history.csv")) < 6
    _, ended = pretended_device.zoo_on_it(tmp_path, command.format("stopped"), command.format("whole"))
    assert f"resumes after epoch {state.progress.epoch} of 6" in ended[0], ended
    weights = [next((tmp_path / name).rglob("model.safetensors")).read_bytes() for name in ("stopped", "whole")]
    assert weights[0] == weights[1]
