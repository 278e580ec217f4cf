"""``zoo evaluate`` on real, tiny runs: other images, corruptions, small batches."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

DATA = os.environ.get("ZOO_DATA")  # the command lines of the tests run without it


@pytest.fixture(scope="module")
def trained(module_cli, tiny) -> SimpleNamespace:
    """Two models that learned a little, two seeds of one of them."""
    more = ("--set", "epochs=4", "--set", "split.train=640")
    module_cli.ok("bench", "resnet20_bn", "resnet20_ln", *tiny, *more)
    module_cli.ok("bench", "resnet20_bn", *tiny, *more, "--seed", "1")
    before = {path: path.read_bytes() for path in (module_cli.folder / "runs").rglob("*") if path.is_file()}
    return SimpleNamespace(cli=module_cli, folder=module_cli.folder, before=before)


def records(trained, *options: str | Path) -> list[dict]:
    return json.loads(trained.cli.ok("evaluate", "runs", *options, "--format", "json").stdout)


def folder_of(trained, model: str, seed: int = 0) -> Path:
    (found,) = (trained.folder / "runs").glob(f"*/*/{model}/seed{seed}")
    return found


def test_own_test_set_gives_the_stored_accuracy_and_changes_nothing(trained) -> None:
    found = records(trained)
    assert [(one["model"], one["seed"]) for one in found] == [
        ("resnet20_bn", 0), ("resnet20_bn", 1), ("resnet20_ln", 0),
    ]  # fmt: skip
    for one in found:
        stored = json.loads((folder_of(trained, one["model"], one["seed"]) / "result.json").read_text())["test"]
        assert one["same_as_stored"] is True
        for key in ("accuracy", "loss", "ece", "brier", "top5_accuracy"):
            assert one[key] == pytest.approx(stored[key], rel=1e-6), key
    text = trained.cli.ok("evaluate", "runs").stdout
    assert text.count(" yes ") == 3
    assert {
        path: path.read_bytes() for path in (trained.folder / "runs").rglob("*") if path.is_file()
    } == trained.before


def test_corruptions(trained) -> None:
    chosen = ("--corrupt", "noise,contrast", "--severity", "1,5", "--limit", "200")
    found = records(trained, *chosen)
    assert {(one["corruption"], one["severity"]) for one in found} == {
        (None, None), ("noise", 1), ("noise", 5), ("contrast", 1), ("contrast", 5),
    }  # fmt: skip
    assert {one["images"] for one in found} == {200}
    for condition in {(one["corruption"], one["severity"]) for one in found}:
        pixels = {one["pixels"] for one in found if (one["corruption"], one["severity"]) == condition}
        assert len(pixels) == 1, "all models see the same"
    assert len({one["pixels"] for one in found}) == 5
    clean = {(one["model"], one["seed"]): one["accuracy"] for one in found if one["corruption"] is None}
    for one in found:
        if one["corruption"]:
            assert one["gap"] == pytest.approx(clean[one["model"], one["seed"]] - one["accuracy"])
    assert [{**one} for one in records(trained, *chosen)] == found  # the same again
    table = trained.cli.ok("evaluate", "runs", *chosen).stdout
    for word in (
        "clean",
        "noise",
        "contrast",
        "mean",
        "lost",
        "severities 1, 5",
        "not CIFAR-10-C's",
        "200 test images",
    ):
        assert word in table
    rows = list(csv.DictReader(io.StringIO(trained.cli.ok("evaluate", "runs", *chosen, "--format", "csv").stdout)))
    assert [float(row["accuracy"]) for row in rows] == [one["accuracy"] for one in found]


def test_batch_sizes(trained) -> None:
    found = records(trained, "--batch-sizes", "1,2,64", "--limit", "100")
    figures = {(one["model"], one["seed"], one["mode"], one["batch_size"]): one for one in found}
    for model, seed in (("resnet20_bn", 0), ("resnet20_bn", 1), ("resnet20_ln", 0)):
        usual = [figures[model, seed, "eval", size]["accuracy"] for size in (1, 2, 64)]
        assert max(usual) - min(usual) <= 0.02  # sums in another order, in bf16
        own = [figures[model, seed, "batch statistics", size] for size in (1, 2, 64)]
        if model == "resnet20_ln":
            assert {one["missing"] for one in own} == {"no layer uses batch statistics"}
        else:
            assert own[1]["accuracy"] != own[2]["accuracy"] or own[1]["loss"] != own[2]["loss"]
            assert own[2]["loss"] != figures[model, seed, "eval", 64]["loss"]
    text = trained.cli.ok("evaluate", "runs", "--batch-sizes", "2,64", "--limit", "100").stdout
    assert "batch statistics: layers that keep running statistics" in text
    assert "batch 64" in text


def test_other_test_sets(trained, tmp_path: Path) -> None:
    """The generated set's classes under the name of a folder of images; and one with CIFAR's classes is refused."""
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    place = tmp_path / "CIFAR-10.1"
    place.mkdir()
    np.save(place / "cifar10.1_v6_data.npy", images)
    np.save(place / "cifar10.1_v6_labels.npy", np.arange(20) % 10)
    output = trained.cli("evaluate", "runs", "--dataset", "cifar10.1", "--data-dir", tmp_path)
    assert output.returncode == 2
    assert "was trained on shapes10 with other classes than cifar10.1 has" in output.lines[-1]


@pytest.mark.skipif(not DATA, reason="needs real images: set ZOO_DATA")
def test_real_images(zoo_cli, tmp_path: Path) -> None:
    """A run on cifar10-jpeg, on a miniature CIFAR-10-C made of its own test images."""
    small = ("--set", "split.train=320", "--set", "epochs=1", "--set", "schedule.peak_epoch=0.5", "--layout", "nchw")
    zoo_cli.ok("bench", "resnet20_ln", "--recipe", "laptop", "--dataset", "cifar10-jpeg", "--data-dir", DATA, *small)
    place = tmp_path / "data" / "CIFAR-10-C"
    place.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.save(place / "fog.npy", images)
    np.save(place / "labels.npy", np.tile(np.arange(10), 5))
    text = zoo_cli.ok("evaluate", "runs", "--dataset", "cifar10-c", "--data-dir", tmp_path / "data").stdout
    for word in ("cifar10-c, 10 test images; trained on cifar10-jpeg", "own test", "fog 1", "fog 5", "lost"):
        assert word in text
    output = zoo_cli("bench", "resnet20_ln", "--recipe", "laptop", "--dataset", "cifar10-c")
    assert output.returncode == 2
    assert "`zoo evaluate RUN --dataset cifar10-c`" in output.lines[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--corrupt", "blurr"), ("'blurr'", "did you mean 'blur'")),
        (("--corrupt", "blur", "--severity", "6"), ("'6'", "1 to 5")),
        (("--severity", "2"), ("--severity", "--corrupt")),
        (("--batch-sizes", "0"), ("'0'", "1 or more")),
        (("--dataset", "cifar10-d"), ("'cifar10-d'", "cifar10-c")),
        (("--device", "gpu"), ("gpu", "cuda")),
        (("--format", "latex"), ("'latex'", "'markdown'")),
    ],
)
def test_mistakes_are_one_line(trained, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = trained.cli("evaluate", "runs", *options)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert line.startswith("zoo: ")
    assert all(word in line for word in words), line


def test_what_cannot_be_believed_is_refused(trained, zoo_cli, tiny) -> None:
    """Missing, damaged and foreign weights; an edited registry; a run that diverged."""

    def fails(*arguments: str | Path, says: str) -> None:
        output = zoo_cli("evaluate", *arguments)
        assert (output.returncode, output.stdout) == (2, "")
        assert says in output.lines[-1], output.lines[-1]

    fails("nowhere", says="no such folder")
    copy = zoo_cli.folder / "copy"
    shutil.copytree(folder_of(trained, "resnet20_bn"), copy)
    (copy / "model.safetensors").write_bytes(b"no weights")
    fails(copy, says="the weights cannot be read")
    shutil.copy(folder_of(trained, "resnet20_ln") / "model.safetensors", copy)
    fails(copy, says="does not fit resnet20_bn: has no")
    (copy / "model.safetensors").unlink()
    fails(copy, says="has a result but no model.safetensors")
    other = zoo_cli.folder / "other"
    shutil.copytree(folder_of(trained, "resnet20_bn"), other)
    (zoo_cli.folder / "registry.yaml").write_text(
        'norms:\n  bn: {builder: "torch.nn:BatchNorm2d", kwargs: {eps: 0.1}, override: true}\n'
    )
    fails(other, says="was trained with another definition of resnet20_bn")
    (zoo_cli.folder / "registry.yaml").unlink()
    zoo_cli.ok("bench", "resnet20_none", *tiny, "--set", "optimizer.lr=1e30")
    fails("runs", says="the run diverged at epoch")
