"""Whole runs, as `zoo bench` does them: the test set's single reading, resuming, and what is stored."""

from __future__ import annotations

import contextlib
import csv
import errno
import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import CLASSES, CPU, IMAGES, LABELS, TEST, TEST_IMAGES, TEST_LABELS, Silent, recipe, same

from zoo.data.augment.spec import TransformSpec, build
from zoo.data.datasets import Dataset, Split
from zoo.engine.checkpoint import load_weights
from zoo.errors import RecipeError, ResultError, ZooError
from zoo.recipes.recipe import Recipe
from zoo.registry.merge import load_registry
from zoo.registry.model import Model
from zoo.results.folder import load_result
from zoo.results.history import load_history, save_history
from zoo.results.run import planned_runs
from zoo.results.schema import FORMER_NAMES, Result
from zoo.runner.checks import check
from zoo.runner.inputs import Inputs
from zoo.runner.settings import Settings
from zoo.runner.sweep import bench, clear


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
    classes = tuple("abcd")
    return cls(name="tiny", classes=classes, fingerprint="d" * 64, source="", folder=Path("/nowhere"), arrays=arrays)


def settings(executor: str = "batched") -> Settings:
    return Settings(device=CPU, layout="nchw", executor=executor, workers=0, compiled=False, deterministic=False)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """A very small ResNet with two norms; its speed is not measured for as long as a real one's."""
    from zoo.engine import speed

    monkeypatch.delenv("ZOO_REGISTRY", raising=False)
    monkeypatch.setattr(speed, "INFERENCE_BATCHES", (8,))
    path = tmp_path / "registry.yaml"
    path.write_text(
        'architectures:\n  tiny: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
    )
    return load_registry(folder=tmp_path).match(["tiny_bn", "tiny_ln"])


def one(
    folder: Path, model: Model, wanted: Recipe, data: Dataset, seed: int = 0, reporter: Any = None, **more: Any
) -> Result:
    runs = planned_runs([model], [seed], wanted, data.name, folder / "runs")
    check(runs, Inputs(wanted, data, settings()))
    if more.pop("restart", False):
        clear(runs)
    inputs = Inputs(wanted, data, more.pop("settings", settings()))
    (found,) = bench(runs, inputs, reporter or Silent(), **more)
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


def former_names(folder: Path) -> None:
    """Name the metrics of a run that was stopped as its files did before schema 3."""
    present = {name: former for former, name in FORMER_NAMES.items()}
    state = torch.load(folder / "state.pt", weights_only=True)
    history = state["progress"]["history"]
    history[:] = [{present.get(name, name): cell for name, cell in row.items()} for row in history]
    assert "train_accuracy" in history[0]
    torch.save(state, folder / "state.pt")
    header, lines = (folder / "history.csv").read_text().split("\n", 1)
    (folder / "history.csv").write_text(header.replace("running_train_", "train_") + "\n" + lines)


@pytest.mark.parametrize("former", [False, True])
def test_stopped_bench_goes_on_with_the_same_bits(tmp_path: Path, models: list[Model], former: bool) -> None:
    wanted, data = recipe(), dataset()
    one(tmp_path / "whole", models[1], wanted, data)

    def stop(epoch: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(tmp_path / "cut", models[1], wanted, data, reporter=Silent(stop))
    folder = stored(tmp_path / "cut", wanted, "tiny_ln")
    assert sorted(path.name for path in folder.iterdir()) == ["begun.json", "history.csv", "state.pt"]
    if former:
        former_names(folder)
    found = one(tmp_path / "cut", models[1], wanted, data)
    assert (found.resumes, found.epochs_trained) == (1, 3)
    whole = load_weights(stored(tmp_path / "whole", wanted, "tiny_ln") / "model.safetensors")
    assert same(load_weights(folder / "model.safetensors"), whole)
    histories = [stored(tmp_path / place, wanted, "tiny_ln") / "history.csv" for place in ("whole", "cut")]
    running = [[row.running_train_accuracy for row in load_history(path)] for path in histories]
    assert running[0] == running[1]


def test_a_state_of_old_goes_on_in_one_process_and_as_if_not_moved(tmp_path: Path, models: list[Model]) -> None:
    """As a run left it that was begun before states had more than its settings."""
    wanted, data = recipe(), dataset()

    def stop(epoch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(tmp_path, models[1], wanted, data, reporter=Silent(stop))
    file = stored(tmp_path, wanted, "tiny_ln") / "state.pt"
    state = torch.load(file, weights_only=True)
    settings = state["identity"]["settings"]
    assert settings.pop("processes") == 1
    for name in ("environment", "git", "started", "moved_after"):
        del settings[name]
    torch.save(state, file)
    result = one(tmp_path, models[1], wanted, data)
    assert result.resumes == 1
    assert "moved_after" not in result.environment


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
        state = torch.load(file, weights_only=True)
        settings = state["identity"]["settings"]
        settings["started"] = "2020-02-02T20:20:20+00:00"
        if cpu == "another":
            settings["environment"] |= {"cpu": "abacus", "threads": 99}
            settings["git"] = {"commit": "c" * 40, "dirty": True}
        torch.save(state, file)
        told = Told()
        found = one(folder, models[1], wanted, data, reporter=told)
        assert found.started == "2020-02-02T20:20:20+00:00"
        assert found.environment.get("moved_after") == (2 if cpu == "another" else None)
        if cpu == "another":  # two epochs were trained by uncommitted changes, whatever trained the last one
            assert found.git is None or (found.git["commit"] != "c" * 40 and found.uncommitted)
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
    runs = planned_runs(models, [0, 1], wanted, data.name, tmp_path / "runs")
    assert [(item.model.name, item.seed) for item in runs] == [
        ("tiny_bn", 0), ("tiny_ln", 0), ("tiny_bn", 1), ("tiny_ln", 1),
    ]  # fmt: skip
    found = bench(runs, Inputs(wanted, data, settings()), Silent())
    assert [(item.model.name, item.seed) for item in found] == [(item.model.name, item.seed) for item in runs]
    weights = [load_weights(item.folder.weights) for item in (runs[0], runs[2])]
    assert not same(*weights)
    again = planned_runs(models[:1], [0], wanted, data.name, tmp_path / "again")
    bench(again, Inputs(wanted, data, settings()), Silent())
    assert same(load_weights(again[0].folder.weights), weights[0])


@pytest.mark.parametrize("executor", ["batched", "albumentations"])
def test_the_runs_of_a_bench_share_their_transforms(
    tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    """Each transform is built to be checked and to be run, whatever the number of runs and of loaders in each."""
    built: Counter[str] = Counter()

    def counted(spec: TransformSpec, *where: str) -> Any:
        built[spec.name] += 1
        return build(spec, *where)

    for module in ("spec", "batched", "reference"):
        monkeypatch.setattr(f"zoo.data.augment.{module}.build", counted)
    inputs = Inputs(recipe("epochs=1"), dataset(), settings(executor))
    runs = planned_runs(models, [0, 1], inputs.recipe, "tiny", tmp_path)
    check(runs, inputs)
    assert len(bench(runs, inputs, Silent())) == 4
    assert built == {"HorizontalFlip": 2, "Normalize": 3 * 2}  # in both lists, and compared with the dataset


def test_stored_run_of_another_experiment_is_not_taken_for_this_one(tmp_path: Path, models: list[Model]) -> None:
    wanted = recipe("epochs=2")
    one(tmp_path, models[0], wanted, dataset())
    other = dataset()
    object.__setattr__(other, "fingerprint", "e" * 64)
    with pytest.raises(ResultError, match="was made with another dataset; give restart"):
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
    last = replace(first, epoch=2, running_train_loss=math.nan)
    monkeypatch.setattr("zoo.engine.train.train_epoch", lambda *_, **__: (last, 3, []))
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
        check(planned_runs(models, [0], wanted, "tiny", tmp_path), Inputs(wanted, dataset(), settings()))

    with pytest.raises(RecipeError, match=r"split needs 65 images, but tiny has 64 to train on; give set split\."):
        check_all(recipe("split.holdout=64"))
    with pytest.raises(RecipeError, match=r"augment\.train"):
        check_all(recipe("augment.train=[Rotate: {limit: far}]"))


# Faults in this process, one of each kind of call; tests/cli/test_every_call.py disturbs every call of every command


def test_a_fault_at_each_kind_of_call_of_a_run(
    models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Any
) -> None:
    """The call raises once, late in the run: one error or none, no damaged file, the same weights afterwards."""
    wanted, data = recipe("epochs=1"), dataset()
    reference = one(tmp_path / "reference", models[0], wanted, data)
    weights = load_weights(stored(tmp_path / "reference", wanted, "tiny_bn") / "model.safetensors")
    runs = planned_runs([models[0]], [0], wanted, data.name, tmp_path / "runs")
    kinds = ((os, "open", 10), (os, "fsync", 6), (Path, "replace", 5))
    for number, (owner, name, at) in enumerate(kinds):
        error = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)[number % 4]
        clear(runs)
        original, calls = getattr(owner, name), Counter[str]()

        def call(*arguments: Any, original: Any = original, calls: Any = calls, **more: Any) -> Any:
            if str(tmp_path) in str(arguments[0]) or isinstance(arguments[0], int):
                calls["done"] += 1
                if calls["done"] == at:  # noqa: B023
                    raise OSError(error, os.strerror(error), str(arguments[0]))  # noqa: B023
            return original(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, call)
            with contextlib.suppress(ZooError):
                bench(runs, Inputs(wanted, data, settings()), Silent())
        assert calls["done"] >= at, f"{name} was not called {at} times"
        (result,) = bench(runs, Inputs(wanted, data, settings()), Silent())
        folder = runs[0].folder.path
        assert result.test == reference.test
        assert same(load_weights(folder / "model.safetensors"), weights)
        names = {path.name for path in folder.iterdir()}
        assert names == {"result.json", "history.csv", "model.safetensors", "predictions.npz"}, (name, at)
        assert [path.name for path in folder.parent.iterdir()] == ["seed0"]
        figure("faults of a run in one process, tried and held")


def test_a_run_writes_through_no_link_and_what_was_left_is_swept(models: list[Model], tmp_path: Path) -> None:
    """A link in the place of a file is replaced by it. A state and temporaries are left by older versions and kills."""
    wanted, data = recipe("epochs=1"), dataset()
    folder, secret = stored(tmp_path, wanted, "tiny_bn"), tmp_path / "id_ed25519"
    folder.mkdir(parents=True)
    secret.write_text("a private key")
    files = {"history.csv", "model.safetensors", "predictions.npz"}
    for name in files:
        (folder / name).symlink_to(secret)
    one(tmp_path, models[0], wanted, data)
    assert secret.read_text() == "a private key"
    assert {path.name for path in folder.iterdir() if not path.is_symlink()} == {*files, "result.json"}
    result = (folder / "result.json").read_bytes()
    for name in ("state.pt", ".state.pt.99.0123abcd.tmp", ".result.json.99.tmp", "notes.tmp", ".mine.tmp"):
        (folder / name).write_bytes(b"left")
    one(tmp_path, models[0], wanted, data)
    assert (folder / "result.json").read_bytes() == result
    assert {path.name for path in folder.iterdir()} == {*files, "result.json", "notes.tmp", ".mine.tmp"}
