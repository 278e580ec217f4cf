"""The loop: resuming, selecting, averaging, precision, and divergence."""

from __future__ import annotations

import math
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import CLASSES, CPU, IDENTITY, IMAGES, LABELS, TEST, TEST_IMAGES, TEST_LABELS, Silent, recipe, same
from torch import Tensor, nn

from zoo.data.loader import Batching, EvalLoader, TrainLoader
from zoo.engine.checkpoint import SavedState, load_state
from zoo.engine.train import Batches, Outcome, train
from zoo.recipes.recipe import Recipe
from zoo.results.folder import RunFolder
from zoo.utils.distributed import SINGLE_PROCESS


def network(dropout: float = 0.0) -> nn.Module:
    """A convolution, a BatchNorm with its buffers, dropout, a classifier."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(dropout), nn.Linear(24, CLASSES),
    )  # fmt: skip


def run(
    folder: Path,
    wanted: Recipe,
    *,
    seed: int = 1,
    state: SavedState | None = None,
    model: nn.Module | None = None,
    **more: Any,
) -> Outcome:
    """Train on the 64 images with the real loaders; the last 20 test images stand for the selection split."""
    loader = TrainLoader(
        IMAGES, LABELS, wanted.augment.train, Batching(wanted.batch_size, seed, SINGLE_PROCESS, wanted.drop_last)
    )
    selection = EvalLoader(TEST_IMAGES, TEST_LABELS, wanted.augment.eval, batch_size=16)
    return train(
        model or network(), wanted, Batches(loader, selection), device=CPU, compiled=False, state=state,
        folder=RunFolder(folder), identity=IDENTITY, reporter=more.get("reporter", Silent()),
    )  # fmt: skip


def figures(outcome: Outcome) -> list[dict[str, Any]]:
    """The history without what a clock measured."""
    clock = {"train_images_per_second", "train_seconds", "eval_seconds"}
    return [{key: value for key, value in asdict(row).items() if key not in clock} for row in outcome.progress.history]


# Resume

KINDS = {
    "sgd+cosine": (),
    "adamw+one_cycle+ema": (
        "optimizer={name: adamw, lr: 0.01, betas: [0.9, 0.99], weight_decay: 0.01, decay_norm_and_bias: false}",
        "schedule={name: one_cycle, peak_epoch: 1.5, initial_factor: 0.1, final_factor: 0}",
        "ema.decay=0.9",
    ),
    "muon": (
        "optimizer={name: muon, lr: 0.05, momentum: 0.9, nesterov: true, adamw_lr_scale: 0.08, betas: [0.9, 0.95], "
        "weight_decay: 0.01, decay_norm_and_bias: false}",
    ),
    "muon+fp16+clip+plateau": (
        "precision=fp16",
        "clip_grad_norm=0.1",
        "optimizer={name: muon, lr: 0.05, momentum: 0.9, nesterov: false, adamw_lr_scale: 0.08, betas: [0.9, 0.95], "
        "weight_decay: 0.01, decay_norm_and_bias: true}",
        "schedule={name: plateau, warmup_epochs: 0, factor: 0.5, patience: 1, threshold: 10}",
    ),
    # No epoch passes this threshold: one is suffered, the next lowers the rate.
    "sgd+plateau": ("epochs=5", "schedule={name: plateau, warmup_epochs: 0, factor: 0.5, patience: 1, threshold: 10}"),
    "lookahead": ("lookahead={every: 3, decay: 0.9, power: 1}",),
    "clip": ("clip_grad_norm=0.1",),
    "fp16": ("precision=fp16",),
    "bf16+last": ("precision=bf16", "selection.rule=last"),
    "best by loss": ("selection.metric=loss",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_resume_after_each_epoch_gives_the_same_bits(tmp_path: Path, kind: str) -> None:
    wanted = recipe(*KINDS[kind])
    states: dict[int, SavedState] = {}

    def keep(epoch: int) -> None:
        states[epoch] = load_state(tmp_path / "state.pt")

    model = network(dropout=0.3)
    whole = run(tmp_path, wanted, model=model, reporter=Silent(keep))
    assert (list(states), whole.progress.resumes) == ([row.epoch for row in whole.progress.history], 0)
    assert len(states) == wanted.epochs
    for epoch, state in states.items():
        assert state.progress.epoch == epoch
        torch.manual_seed(1234 + epoch)  # the global state is not what makes them equal
        again_model = network(dropout=0.3)
        nn.init.constant_(again_model[0].weight, 7.0)  # nor are the initial weights
        again = run(tmp_path, wanted, model=again_model, state=state)
        assert same(again.weights, whole.weights)
        assert same(again_model.state_dict(), model.state_dict())
        assert figures(again) == figures(whole)
        assert (again.progress.best_epoch, again.progress.resumes) == (whole.progress.best_epoch, 1)


def test_resume_of_a_model_that_cannot_be_copied(tmp_path: Path) -> None:
    def uncopied() -> nn.Module:
        torch.manual_seed(0)
        compiled = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
        model = nn.Sequential(compiled, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
        vars(model)["lock"] = threading.Lock()
        return model

    states: dict[int, SavedState] = {}
    wanted = recipe("selection.rule=last")
    whole = run(
        tmp_path,
        wanted,
        model=uncopied(),
        reporter=Silent(lambda e: states.update({e: load_state(tmp_path / "state.pt")})),
    )
    again = run(tmp_path, wanted, model=uncopied(), state=states[1])
    assert same(again.weights, whole.weights)


def test_resume_takes_up_the_loss_scale(tmp_path: Path) -> None:
    wanted, states = recipe("precision=fp16", "selection.rule=last"), []
    whole = run(tmp_path, wanted, reporter=Silent(lambda epoch: states.append(load_state(tmp_path / "state.pt"))))
    states[0].scaler["scale"] *= 2**20  # every gradient overflows, so steps are left out until it has come down
    assert not same(run(tmp_path, wanted, state=states[0]).weights, whole.weights)


def test_what_the_kinds_are_meant_to_do(tmp_path: Path) -> None:
    """Else the test above could compare runs in which clipping, averaging and the schedules do nothing."""
    done = {kind: run(tmp_path, recipe("selection.rule=last", *wanted)) for kind, wanted in KINDS.items()}
    plain = done["sgd+cosine"]
    assert all(
        not same(done[kind].weights, plain.weights) for kind in KINDS if kind not in ("sgd+cosine", "best by loss")
    )
    assert [row.lr for row in done["sgd+plateau"].progress.history] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    # Last step of each epoch of 4: 0.875 of the warm-up, then the cosine at 0.875 of its first and second half.
    assert [row.lr for row in plain.progress.history] == pytest.approx(
        [0.0875] + [0.05 * (1 + np.cos(np.pi * progress)) for progress in (0.4375, 0.9375)]
    )


def test_state_is_of_one_epoch_and_holds_no_objects(tmp_path: Path) -> None:
    run(tmp_path, recipe())
    state = load_state(tmp_path / "state.pt")
    assert (state.identity, state.progress.epoch) == (IDENTITY, 3)
    assert len(state.progress.history) == 3


# Randomness


def test_seed_decides_order_and_layers_and_nothing_else_does(tmp_path: Path) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        return run(tmp_path, recipe(), seed=seed, model=network(dropout=0.5)).weights

    first, other = weights(1), weights(2)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert same(first, weights(1))
    assert not same(first, other)


def test_dropout_differs_between_epochs_and_seeds(tmp_path: Path) -> None:
    class Masks(nn.Module):
        """Notes which of 8 cells dropout keeps in each step."""

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.dropout, self.masks = nn.Linear(192, CLASSES), nn.Dropout(0.5), []

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.masks.append(tuple(self.dropout(torch.ones(64)).tolist()))
            return self.linear(x.flatten(1))

    one, two = Masks(), Masks()
    run(tmp_path, recipe(), seed=1, model=one)
    run(tmp_path, recipe(), seed=2, model=two)
    assert len(one.masks) == 3 * 4
    assert len(set(one.masks) | set(two.masks)) == 2 * 3 * 4


# Precision


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("clip", ["null", "1.0"])
def test_precisions_learn(tmp_path: Path, precision: str, clip: str) -> None:
    seen = set()
    model = network()
    model[6].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    outcome = run(tmp_path, recipe(f"precision={precision}", f"clip_grad_norm={clip}", "epochs=8"), model=model)
    assert outcome.diverged is None
    assert seen == {{"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert outcome.progress.history[-1].running_train_loss < outcome.progress.history[0].running_train_loss
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in outcome.weights.values())


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    wanted = recipe(
        "clip_grad_norm=1e-3", "epochs=1", "schedule={name: constant, warmup_epochs: 0}", "optimizer.weight_decay=0",
        "optimizer.nesterov=false", "optimizer.momentum=0", "optimizer.lr=1", "selection.rule=last",
    )  # fmt: skip
    before = {name: parameter.detach().clone() for name, parameter in network().named_parameters()}
    after = run(tmp_path, wanted).weights
    moved = torch.sqrt(sum((after[name] - tensor).square().sum() for name, tensor in before.items()))
    assert 0 < moved <= 4 * 1e-3 * 1.001  # four steps of at most that length


# Selection


def scripted(monkeypatch: pytest.MonkeyPatch, accuracies: list[float], losses: list[float]) -> None:
    """Evaluations with these figures, one per epoch."""
    import zoo.engine.train as module

    class Told:
        def __init__(self, accuracy: float, loss: float) -> None:
            self.accuracy, self.loss, self.finite = accuracy, loss, math.isfinite(loss)

    turn = iter(zip(accuracies, losses, strict=True))
    monkeypatch.setattr(module, "evaluate", lambda *arguments: Told(*next(turn)))


@pytest.mark.parametrize(
    ("overrides", "epoch"),
    [
        (("selection={split: holdout, rule: best, metric: accuracy}",), 2),  # the first of equals
        (("selection={split: holdout, rule: best, metric: loss}",), 4),  # the smallest
        (("selection={split: holdout, rule: last, metric: accuracy}",), 5),
    ],
)
def test_selected_epoch_and_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], epoch: int
) -> None:
    scripted(monkeypatch, [0.2, 0.6, 0.6, 0.5, 0.4], [1.9, 1.2, 1.5, 1.1, 1.3])
    model, snapshots = network(), {}

    def keep(number: int) -> None:
        snapshots[number] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    reporter = Silent(keep)
    outcome = run(tmp_path, recipe("epochs=5", *overrides), model=model, reporter=reporter)
    assert outcome.progress.best_epoch == epoch
    assert [number for number, weights in snapshots.items() if same(weights, outcome.weights)] == [epoch]
    assert [row.eval_accuracy for row in outcome.progress.history] == [0.2, 0.6, 0.6, 0.5, 0.4]
    if epoch == 2:
        assert reporter.saved == [
            (1, None, True), (2, 0.2, True), (3, 0.6, False), (4, 0.6, False), (5, 0.6, False),
        ]  # fmt: skip


def test_loss_that_is_no_number_is_not_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [0.1, 0.5, 0.6], [float("nan"), 1.5, 1.2])
    outcome = run(tmp_path, recipe("selection.metric=loss"))
    assert outcome.diverged is not None or outcome.progress.best_epoch == 3


def test_averaged_weights_are_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    model = network()
    outcome = run(tmp_path, recipe("ema.decay=0.9", "selection.rule=last"), model=model)
    assert not same(outcome.weights, model.state_dict())
    twin = network()
    twin.load_state_dict(outcome.weights)
    twin.eval()
    with torch.no_grad():
        batches = EvalLoader(TEST_IMAGES, TEST_LABELS, recipe().augment.eval, batch_size=TEST)
        ((images, labels),) = list(batches)
        accuracy = (twin(images).argmax(1) == labels).double().mean().item()
    assert outcome.progress.history[-1].eval_accuracy == accuracy


# Divergence


class Breaks(nn.Module):
    """Its logits are no numbers from the given training step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.linear, self.left = nn.Linear(192, CLASSES), step

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        return self.linear(x.flatten(1)) * (float("nan") if self.left <= 0 and self.training else 1.0)


@pytest.mark.parametrize(("step", "epoch", "in_epoch"), [(1, 1, 1), (4, 1, 4), (5, 2, 1), (11, 3, 3)])
def test_divergence_is_told_with_epoch_and_step(tmp_path: Path, step: int, epoch: int, in_epoch: int) -> None:
    outcome = run(tmp_path, recipe(), model=Breaks(step))
    assert (outcome.diverged.epoch, outcome.diverged.step) == (epoch, in_epoch)
    assert len(outcome.progress.history) == epoch - 1
    assert (outcome.weights is None) == (epoch == 1)
