"""The loop and the runs around it: resuming, selecting, the test set's single reading, and divergence."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.data.datasets import Dataset, Split
from zoo.data.loader import EvalLoader, TrainLoader
from zoo.engine.checkpoint import load_state, load_weights, save_state
from zoo.engine.train import Batches, Diverged, Outcome, train
from zoo.errors import RecipeError, ResultError
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.registry.merge import load_registry
from zoo.registry.model import Model
from zoo.results.folder import RunFolder, load_result
from zoo.results.history import load_history, save_history
from zoo.results.schema import Result
from zoo.runner.checks import check
from zoo.runner.runs import plan
from zoo.runner.sweep import Settings, bench, clear
from zoo.utils.distributed import SINGLE_PROCESS

CPU = torch.device("cpu")
TRAIN, HOLDOUT, TEST, CLASSES = 64, 16, 20, 4
NORMALIZE = "Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}"
BASE = (
    f"split={{holdout: {HOLDOUT}, seed: 0}}",
    f"augment={{train: [HorizontalFlip: {{p: 0.5}}, {NORMALIZE}], eval: [{NORMALIZE}]}}",
    "batch_size=16",
    "drop_last=false",
    "precision=fp32",
    "epochs=3",
    "schedule={name: cosine, warmup_epochs: 1, final_factor: 0}",
    "optimizer.lr=0.1",
)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (TRAIN, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(TRAIN) % CLASSES
TEST_IMAGES = RANDOM.integers(0, 256, (TEST, 8, 8, 3), dtype=np.uint8)
TEST_LABELS = np.arange(TEST) % CLASSES


def recipe(*overrides: str) -> Recipe:
    return load_recipe("standard", [*BASE, *overrides])


class Silent:
    """A reporter that says nothing; `at_epoch` is called after each epoch."""

    def __init__(self, at_epoch: Any = None) -> None:
        self.at_epoch = at_epoch
        self.saved: list[tuple[int, float | None, bool]] = []

    def epoch(self, row: Any, epochs: int, rose_from: float | None, saved: bool) -> None:
        self.saved.append((row.epoch, rose_from, saved))
        if self.at_epoch:
            self.at_epoch(row.epoch)

    def __getattr__(self, name: str) -> Any:
        if name not in ("resumed", "moved", "window", "run", "resolved", "finished"):
            raise AttributeError(name)
        return lambda *arguments, **keywords: None


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
    state: dict | None = None,
    model: nn.Module | None = None,
    **more: Any,
) -> Outcome:
    """Train on the 64 images with the real loaders; the last 20 test images stand for the selection split."""
    loader = TrainLoader(
        IMAGES, LABELS, wanted.augment.train, batch_size=wanted.batch_size, seed=seed, distributed=SINGLE_PROCESS,
        drop_last=wanted.drop_last,
    )  # fmt: skip
    selection = EvalLoader(TEST_IMAGES, TEST_LABELS, wanted.augment.eval, batch_size=16)
    return train(
        model or network(), wanted, Batches(loader, selection), seed=seed, device=CPU, compiled=False,
        distributed=SINGLE_PROCESS, state=state, folder=RunFolder(folder), identity={"run": "x"},
        reporter=more.get("reporter", Silent()),
    )  # fmt: skip


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def figures(outcome: Outcome) -> list[dict[str, Any]]:
    """The history without what a clock measured."""
    clock = {"train_images_per_second", "train_seconds", "eval_seconds"}
    return [{key: value for key, value in asdict(row).items() if key not in clock} for row in outcome.history]


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
    states: dict[int, dict] = {}

    def keep(epoch: int) -> None:
        states[epoch] = load_state(tmp_path / "state.pt")

    model = network(dropout=0.3)
    whole = run(tmp_path, wanted, model=model, reporter=Silent(keep))
    assert (list(states), whole.resumes) == ([row.epoch for row in whole.history], 0)
    assert len(states) == wanted.epochs
    for epoch, state in states.items():
        assert state["progress"]["epoch"] == epoch
        torch.manual_seed(1234 + epoch)  # the global state is not what makes them equal
        again_model = network(dropout=0.3)
        nn.init.constant_(again_model[0].weight, 7.0)  # nor are the initial weights
        again = run(tmp_path, wanted, model=again_model, state=state)
        assert same(again.weights, whole.weights)
        assert same(again_model.state_dict(), model.state_dict())
        assert figures(again) == figures(whole)
        assert (again.selected_epoch, again.resumes) == (whole.selected_epoch, 1)


def test_resume_takes_up_the_loss_scale(tmp_path: Path) -> None:
    wanted, states = recipe("precision=fp16", "selection.rule=last"), []
    whole = run(tmp_path, wanted, reporter=Silent(lambda epoch: states.append(load_state(tmp_path / "state.pt"))))
    states[0]["scaler"]["scale"] *= 2**20  # every gradient overflows, so steps are left out until it has come down
    assert not same(run(tmp_path, wanted, state=states[0]).weights, whole.weights)


def test_what_the_kinds_are_meant_to_do(tmp_path: Path) -> None:
    """Else the test above could compare runs in which clipping, averaging and the schedules do nothing."""
    done = {kind: run(tmp_path, recipe("selection.rule=last", *wanted)) for kind, wanted in KINDS.items()}
    plain = done["sgd+cosine"]
    assert all(
        not same(done[kind].weights, plain.weights) for kind in KINDS if kind not in ("sgd+cosine", "best by loss")
    )
    assert [row.lr for row in done["sgd+plateau"].history] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    # Last step of each epoch of 4: 0.875 of the warm-up, then the cosine at 0.875 of its first and second half.
    assert [row.lr for row in plain.history] == pytest.approx(
        [0.0875] + [0.05 * (1 + np.cos(np.pi * progress)) for progress in (0.4375, 0.9375)]
    )


def test_state_is_of_one_epoch_and_holds_no_objects(tmp_path: Path) -> None:
    run(tmp_path, recipe())
    state = load_state(tmp_path / "state.pt")
    assert (state["identity"], state["progress"]["epoch"]) == ({"run": "x"}, 3)
    assert len(state["progress"]["history"]) == 3


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
    assert outcome.history[-1].train_loss < outcome.history[0].train_loss
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
    assert outcome.selected_epoch == epoch
    assert [number for number, weights in snapshots.items() if same(weights, outcome.weights)] == [epoch]
    assert [row.eval_accuracy for row in outcome.history] == [0.2, 0.6, 0.6, 0.5, 0.4]
    if epoch == 2:
        assert reporter.saved == [
            (1, None, True), (2, 0.2, True), (3, 0.6, False), (4, 0.6, False), (5, 0.6, False),
        ]  # fmt: skip


def test_loss_that_is_no_number_is_not_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [0.1, 0.5, 0.6], [float("nan"), 1.5, 1.2])
    outcome = run(tmp_path, recipe("selection.metric=loss"))
    assert outcome.diverged is not None or outcome.selected_epoch == 3


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
    assert outcome.history[-1].eval_accuracy == accuracy


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
    assert len(outcome.history) == epoch - 1
    assert (outcome.weights is None) == (epoch == 1)


# Whole runs, as `zoo bench` does them


class Counting(np.ndarray):
    """Images that count how often each is taken."""

    counts: np.ndarray

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            self.counts[key] += 1
        else:
            pytest.fail(f"images are taken one by one here, not {key!r}")
        return super().__getitem__(key).view(np.ndarray)


class Watched(Dataset):
    """Counts how often the images of a split are asked for."""

    asked: list[str]

    def split(self, name: str) -> Split:
        outer, inner = self, super().split(name)

        class Asked(Split):
            def __getattribute__(self, key: str) -> Any:
                if key == "images":
                    outer.asked.append(name)
                return super().__getattribute__(key)

        return Asked(inner.images, inner.labels)


def dataset(cls: type[Dataset] = Dataset, test_images: np.ndarray = TEST_IMAGES) -> Dataset:
    arrays = {
        "train_images": IMAGES, "train_labels": LABELS.astype(np.int64),
        "test_images": test_images, "test_labels": TEST_LABELS.astype(np.int64),
    }  # fmt: skip
    return cls("tiny", tuple("abcd"), "d" * 64, "made here", Path("/nowhere"), arrays)


def settings(executor: str = "batched") -> Settings:
    return Settings(device=CPU, layout="nchw", executor=executor, workers=0, compiled=False, deterministic=False)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """A very small ResNet with two norms; its speed is not measured for as long as a real one's."""
    from zoo.engine import speed

    monkeypatch.delenv("ZOO_REGISTRY", raising=False)
    monkeypatch.setattr(speed, "INFERENCE_BATCHES", {"cpu": (8,)})
    path = tmp_path / "registry.yaml"
    path.write_text(
        'architectures:\n  tiny: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
    )
    return load_registry(folder=tmp_path).match(["tiny_bn", "tiny_ln"])


def one(
    folder: Path, model: Model, wanted: Recipe, data: Dataset, seed: int = 0, reporter: Any = None, **more: Any
) -> Result:
    runs = plan([model], [seed], wanted, data.name, folder / "runs")
    check(runs, wanted, data, settings())
    if more.pop("restart", False):
        clear(runs)
    (found,) = bench(runs, wanted, data, more.pop("settings", settings()), reporter or Silent(), **more)
    return found


def stored(folder: Path, wanted: Recipe, model: str, seed: int = 0) -> Path:
    return folder / "runs" / "tiny" / wanted.slug / model / f"seed{seed}"


@pytest.mark.parametrize(
    ("overrides", "readings"),
    [
        ((), 1),
        (("selection.rule=last",), 1),
        (("schedule={name: plateau, warmup_epochs: 0, factor: 0.5, patience: 0, threshold: 0}",), 1),
        (("selection.split=test",), 3 + 1),  # after each epoch, and for the result
    ],
    ids=["best", "last", "plateau", "on the test set"],
)
def test_how_often_each_test_image_is_read(
    tmp_path: Path, models: list[Model], overrides: tuple[str, ...], readings: int
) -> None:
    images = TEST_IMAGES.view(Counting)
    images.counts = np.zeros(TEST, int)
    found = one(
        tmp_path, models[0], recipe(*overrides), dataset(test_images=images), settings=settings("albumentations")
    )
    assert found.settings.executor == "albumentations"
    assert images.counts.tolist() == [readings] * TEST
    assert found.selection.split == ("holdout" if readings == 1 else "test")


def test_test_images_are_asked_for_once_and_after_the_last_epoch(tmp_path: Path, models: list[Model]) -> None:
    data = dataset(Watched)
    asked_by_epoch = []
    object.__setattr__(data, "asked", [])
    reporter = Silent(lambda epoch: asked_by_epoch.append(data.asked.count("test")))
    one(tmp_path, models[0], recipe(), data, reporter=reporter)
    assert asked_by_epoch == [0, 0, 0]
    assert data.asked.count("test") == 1
    assert data.asked.count("train") > 0


def test_held_out_images_are_not_trained_on(tmp_path: Path, models: list[Model]) -> None:
    found = one(tmp_path, models[0], recipe(), dataset())
    assert (found.dataset.train_images, found.dataset.holdout_images, found.dataset.test_images) == (48, 16, 20)
    assert (found.holdout.images, found.test.images) == (16, 20)
    best = max(
        csv.DictReader((stored(tmp_path, recipe(), "tiny_bn") / "history.csv").open()),
        key=lambda r: float(r["eval_accuracy"]),
    )
    assert found.holdout.accuracy == float(best["eval_accuracy"])
    assert found.selection.epoch == int(best["epoch"])


def test_run_leaves_its_files_and_is_not_done_again(tmp_path: Path, models: list[Model]) -> None:
    wanted, data = recipe(), dataset()
    first = one(tmp_path, models[0], wanted, data)
    folder = stored(tmp_path, wanted, "tiny_bn")
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.csv", "model.safetensors", "predictions.npz", "result.json",
    ]  # fmt: skip
    assert load_result(folder / "result.json") == first
    assert len(list(csv.DictReader((folder / "history.csv").open()))) == 3
    with np.load(folder / "predictions.npz") as predictions:
        assert (predictions["label"] == TEST_LABELS).all()
        assert (predictions["label"] == predictions["predicted"]).mean() == first.test.accuracy
    rows = first.test.confusion
    assert sum(map(sum, rows)) == TEST
    assert first.test.correct == sum(rows[i][i] for i in range(CLASSES))
    written = (folder / "result.json").stat().st_mtime_ns
    assert one(tmp_path, models[0], wanted, data) == first
    assert (folder / "result.json").stat().st_mtime_ns == written
    one(tmp_path, models[0], wanted, data, restart=True)
    assert (folder / "result.json").stat().st_mtime_ns > written


def test_stopped_bench_goes_on_with_the_same_bits(tmp_path: Path, models: list[Model]) -> None:
    wanted, data = recipe(), dataset()
    one(tmp_path / "whole", models[1], wanted, data)

    def stop(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(tmp_path / "cut", models[1], wanted, data, reporter=Silent(stop))
    folder = stored(tmp_path / "cut", wanted, "tiny_ln")
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "state.pt"]
    found = one(tmp_path / "cut", models[1], wanted, data)
    assert (found.resumes, found.epochs_trained) == (1, 3)
    whole = load_weights(stored(tmp_path / "whole", wanted, "tiny_ln") / "model.safetensors")
    assert same(load_weights(folder / "model.safetensors"), whole)


def test_a_state_that_names_no_processes_goes_on_in_one(tmp_path: Path, models: list[Model]) -> None:
    """As a run left it that was begun before states did."""
    wanted, data = recipe(), dataset()

    def stop(epoch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(tmp_path, models[1], wanted, data, reporter=Silent(stop))
    file = stored(tmp_path, wanted, "tiny_ln") / "state.pt"
    state = load_state(file)
    assert state["identity"]["settings"].pop("processes") == 1
    save_state(file, state)
    assert one(tmp_path, models[1], wanted, data).resumes == 1


def test_a_run_that_is_moved_to_another_machine_says_so_and_has_the_speed_of_the_last(
    tmp_path: Path, models: list[Model]
) -> None:
    wanted, data = recipe(), dataset()

    def stop(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    class Told(Silent):
        changed: list[str] | None = None

        def moved(self, changed: list[str]) -> None:
            self.changed = changed

    windows = {}
    for cpu in ("this", "another"):
        folder = tmp_path / cpu
        with pytest.raises(KeyboardInterrupt):
            one(folder, models[1], wanted, data, reporter=Silent(stop))
        file = stored(folder, wanted, "tiny_ln") / "state.pt"
        state = load_state(file)
        settings = state["identity"]["settings"]
        settings["started"] = "2020-02-02T20:20:20+00:00"
        if cpu == "another":
            settings["environment"] |= {"cpu": "abacus", "threads": 99}
            settings["git"] = {"commit": "c" * 40, "dirty": False}
        save_state(file, state)
        told = Told()
        found = one(folder, models[1], wanted, data, reporter=told)
        assert found.started == "2020-02-02T20:20:20+00:00"
        assert found.environment.get("moved_after") == (2 if cpu == "another" else None)
        windows[cpu] = len(found.speed.window_rates)
        assert told.changed == (["cpu", "threads", "source of zoo"] if cpu == "another" else None)
    # Three windows an epoch, the first of each session left out: of two epochs and one, or of that one alone.
    assert windows == {"this": 5 + 2, "another": 2}


def test_a_session_that_trains_nothing_tells_no_peak_of_memory(tmp_path: Path, models: list[Model]) -> None:
    wanted, data = recipe(), dataset()

    def stop(epoch: int) -> None:
        if epoch == 3:  # all are done, the test is not
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(tmp_path, models[1], wanted, data, reporter=Silent(stop))
    found = one(tmp_path, models[1], wanted, data)
    assert found.test is not None
    assert found.speed.peak_memory_bytes is None


def test_seeds_and_models_are_different_runs(tmp_path: Path, models: list[Model]) -> None:
    wanted, data = recipe("epochs=2"), dataset()
    runs = plan(models, [0, 1], wanted, data.name, tmp_path / "runs")
    assert [(item.model.name, item.seed) for item in runs] == [
        ("tiny_bn", 0), ("tiny_ln", 0), ("tiny_bn", 1), ("tiny_ln", 1),
    ]  # fmt: skip
    found = bench(runs, wanted, data, settings(), Silent())
    assert [(item.model.name, item.seed) for item in found] == [(item.model.name, item.seed) for item in runs]
    weights = [load_weights(item.folder.weights) for item in (runs[0], runs[2])]
    assert not same(*weights)
    again = plan(models[:1], [0], wanted, data.name, tmp_path / "again")
    bench(again, wanted, data, settings(), Silent())
    assert same(load_weights(again[0].folder.weights), weights[0])


def test_stored_run_of_another_experiment_is_not_taken_for_this_one(tmp_path: Path, models: list[Model]) -> None:
    wanted = recipe("epochs=2")
    one(tmp_path, models[0], wanted, dataset())
    other = dataset()
    object.__setattr__(other, "fingerprint", "e" * 64)
    with pytest.raises(ResultError, match="was made with another data set; give --restart"):
        one(tmp_path, models[0], wanted, other)


def test_diverged_run_is_stored_with_nulls(tmp_path: Path, models: list[Model]) -> None:
    wanted = recipe("optimizer.lr=1e30", "schedule={name: constant, warmup_epochs: 0}")
    found = one(tmp_path, models[0], wanted, dataset())
    assert (found.status, found.test, found.holdout) == ("diverged", None, None)
    assert found.diverged_epoch == 1
    assert found.diverged_step in (2, 3)
    assert load_result(stored(tmp_path, wanted, "tiny_bn") / "result.json") == found
    assert found.speed.inference_images_per_second is None


def test_the_history_of_a_result_is_no_longer_than_its_epochs(
    tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two files of an epoch, which the session after it does not finish: it diverges there."""
    wanted, data = recipe(), dataset()

    def stop(epoch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(tmp_path, models[1], wanted, data, reporter=Silent(stop))
    history = stored(tmp_path, wanted, "tiny_ln") / "history.csv"
    (first,) = load_history(history)
    save_history(history, [first, replace(first, epoch=2)])
    outcome = Outcome([first], None, None, [], 1, Diverged(2, 3))
    monkeypatch.setattr("zoo.runner.run_one.train.train", lambda *_, **__: outcome)
    found = one(tmp_path, models[1], wanted, data)
    assert (found.status, found.epochs_trained) == ("diverged", 1)
    assert load_history(history) == [first]


@pytest.mark.parametrize("rule", ["best", "last"])
def test_divergence_in_the_very_last_step_is_divergence_too(tmp_path: Path, models: list[Model], rule: str) -> None:
    """The loss of the last batch is a number, and the step that follows it ruins the weights."""
    wanted = recipe(
        "optimizer.lr=1e30", "schedule={name: constant, warmup_epochs: 0}", "epochs=1", "batch_size=48",
        f"selection.rule={rule}",
    )  # fmt: skip
    found = one(tmp_path, models[0], wanted, dataset())
    assert (found.status, found.diverged_epoch) == ("diverged", 1)


def test_check_finds_mistakes_before_the_first_run(tmp_path: Path, models: list[Model]) -> None:
    def check_all(wanted: Recipe) -> None:
        check(plan(models, [0], wanted, "tiny", tmp_path), wanted, dataset(), settings())

    with pytest.raises(RecipeError, match="split asks for 65 images but tiny has 64 to train on"):
        check_all(recipe("split.holdout=64"))
    with pytest.raises(RecipeError, match=r"augment\.train"):
        check_all(recipe("augment.train=[Rotate: {limit: far}]"))
