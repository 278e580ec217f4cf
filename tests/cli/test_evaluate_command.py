"""``zoo evaluate`` on real runs, tiny ones: what it prints, what it leaves alone, and what it says of mistakes."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import snapshot
from safetensors.numpy import load_file, save_file

from zoo.data.augment.corrupt import CORRUPTIONS
from zoo.data.readers.parquet import CIFAR10_CLASSES

MODELS = ("resnet20_bn", "resnet20_ln", "resnet20_mine")  # the last with a norm of the working folder's own
MINE = "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm(num_channels // 4, num_channels)\n"


def pixels(count: int, seed: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8: soft blotches, so that a corruption changes them."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small])


def write_data(root: Path) -> None:
    """An image folder with CIFAR-10's classes, and CIFAR-10.1 and CIFAR-10-C in miniature."""
    for split, count in (("train", 12), ("test", 5)):
        for label, name in enumerate(CIFAR10_CLASSES):
            folder = root / "cifar10-tiny" / split / name
            folder.mkdir(parents=True)
            for number, image in enumerate(pixels(count, seed=100 * count + label)):
                Image.fromarray(image).save(folder / f"{number}.png")
    new, old = root / "CIFAR-10.1", root / "CIFAR-10-C"
    for folder in (new, old):
        folder.mkdir()
    np.save(new / "cifar10.1_v6_data.npy", pixels(20, 1))
    np.save(new / "cifar10.1_v6_labels.npy", np.arange(20) % 10)
    np.save(old / "labels.npy", np.tile(np.arange(20, dtype=np.uint8) % 10, 5))
    np.save(old / "fog.npy", pixels(100, 2))
    np.save(old / "snow.npy", np.tile(pixels(20, 3), (5, 1, 1, 1)))  # all severities alike


@pytest.fixture(scope="module")
def benched(module_cli, module_inline, tiny) -> SimpleNamespace:
    """Three models, benched once; tests that change something take a copy."""
    folder = module_cli.folder
    write_data(folder / "data")
    (folder / "registry.yaml").write_text('norms:\n  mine: "evaluated_norm:mine"\n')
    (folder / "evaluated_norm.py").write_text(MINE)
    module_inline.ok("bench", *MODELS, "--dataset", "cifar10-tiny", "--data-dir", "data", *tiny)
    return SimpleNamespace(cli=module_cli, folder=folder, runs=folder / "runs")


@pytest.fixture
def records(zoo) -> Callable[..., list[dict[str, Any]]]:
    """The records of ``zoo evaluate runs ARGUMENTS --format json``."""
    return lambda *arguments: json.loads(zoo("evaluate", "runs", *arguments, "--format", "json").stdout)


def run_folder(root: Path, model: str) -> Path:
    """The one run of this model below `root`."""
    (found,) = root.glob(f"*/*/{model}/seed0")
    return found


def stored(root: Path, model: str) -> dict[str, Any]:
    """What its result says of the test images."""
    return json.loads((run_folder(root, model) / "result.json").read_text())["test"]


def rows(text: str) -> list[dict[str, str]]:
    """The rows of the only Markdown table."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_the_stored_accuracy_comes_out_and_nothing_is_written(benched) -> None:
    """As a user gives it: another process, in the folder of the runs."""
    before = snapshot(benched.runs)
    output = benched.cli.ok("evaluate", "runs", "--data-dir", "data", "--format", "markdown")
    assert snapshot(benched.runs) == before
    shown = rows(output.stdout)
    assert {(row["model"], row["seed"]) for row in shown} == {(model, "0") for model in MODELS}
    for row in shown:
        test = stored(benched.runs, row["model"])
        assert row["same"] == "yes"
        assert row["accuracy %"] == row["stored %"] == f"{100 * test['accuracy']:.2f}"
        assert (row["loss"], row["ECE"], row["Brier"], row["top-5 %"]) == (
            f"{test['loss']:.3f}", f"{test['ece']:.3f}", f"{test['brier']:.3f}", f"{100 * test['top5_accuracy']:.2f}",
        )  # fmt: skip
    assert len(output.lines) == 3
    assert output.lines[0].startswith("[1/3] resnet20_bn seed 0 on cifar10-tiny: ")


def test_every_model_sees_the_same_pixels_whatever_the_batch_size(records) -> None:
    told = records("--corrupt", "noise,jpeg", "--severity", "5,2", "--limit", "30")
    assert len(told) == 3 * (1 + 2 * 2)
    seen = {(row["corruption"], row["severity"]): row["pixels"] for row in told}
    assert len(set(seen.values())) == 5
    assert all(row["pixels"] == seen[row["corruption"], row["severity"]] for row in told)
    assert {row["images"] for row in told} == {30}
    assert {row["same_as_stored"] for row in told} == {None}  # not all images
    clean = {row["model"]: row["accuracy"] for row in told if row["corruption"] is None}
    for row in told:
        wanted = None if row["corruption"] is None else clean[row["model"]] - row["accuracy"]
        assert row["gap"] == wanted
    again = records("--corrupt", "jpeg,noise", "--severity", "2,5", "--limit", "30", "--batch-sizes", "7")
    assert {(row["corruption"], row["severity"]): row["pixels"] for row in again} == seen
    usual = {(row["model"], row["pixels"]): row["accuracy"] for row in told}
    for row in again:
        if row["mode"] == "eval":
            assert row["accuracy"] == pytest.approx(usual[row["model"], row["pixels"]], abs=0.07)  # two near ties


def test_small_batches(records, benched) -> None:
    told = records("--batch-sizes", "1,2,32")
    assert len(told) == 3 * 3 * 2
    for row in told:
        truth = stored(benched.runs, row["model"])
        assert row["images"] == 50
        if row["mode"] == "eval":
            assert row["accuracy"] == pytest.approx(truth["accuracy"], abs=0.04)  # two near ties
            assert row["same_as_stored"] == (row["accuracy"] == truth["accuracy"])
            assert row["loss"] == pytest.approx(truth["loss"], rel=0.02)  # sums in another order, in bf16 perhaps
        elif row["norm"] != "bn":
            assert (row["accuracy"], row["missing"]) == (None, "no layer uses batch statistics")
    by_size = {row["batch_size"]: row for row in told if (row["norm"], row["mode"]) == ("bn", "batch statistics")}
    eval_loss = stored(benched.runs, "resnet20_bn")["loss"]
    assert all(abs(by_size[size]["loss"] - eval_loss) > 0.01 for size in (1, 2, 32))
    assert len({row["loss"] for row in by_size.values()}) == 3


def test_new_test_images(zoo, benched) -> None:
    by_name = zoo("evaluate", "runs", "--dataset", "CIFAR-10.1", "--format", "markdown")
    by_path = zoo("evaluate", "runs", "--dataset", "data/CIFAR-10.1", "--format", "markdown")
    assert by_name.stdout == by_path.stdout
    assert by_name.stdout.startswith("**cifar10.1, 20 test images; trained on cifar10-tiny, recipe smoke-")
    shown = rows(by_name.stdout)
    assert sorted(row["model"] for row in shown) == sorted(MODELS)
    for row in shown:
        own = 100 * stored(benched.runs, row["model"])["accuracy"]
        assert row["own test %"] == f"{own:.2f}"
        assert float(row["lost"]) == pytest.approx(own - float(row["cifar10.1 %"]), abs=0.02)


def test_cifar10_c_brings_its_own_corruptions(zoo, records) -> None:
    told = records("--dataset", "cifar10-c")
    assert len(told) == 3 * 2 * 5
    by_name = {name: {row["pixels"] for row in told if row["corruption"] == name} for name in ("fog", "snow")}
    assert (len(by_name["fog"]), len(by_name["snow"])) == (5, 1)
    for row in told:
        assert row["dataset"] == "cifar10-c"
        assert row["gap"] == row["stored_accuracy"] - row["accuracy"]
    chosen = ("--corrupt", "snow", "--severity", "1,3", "--limit", "10", "--format", "markdown")
    text = zoo("evaluate", "runs", "--dataset", "cifar10-c", *chosen).stdout
    assert text.startswith("**cifar10-c, 10 test images; trained on cifar10-tiny, ")
    assert list(rows(text)[0])[2:] == ["seeds", "own test", "snow 1", "snow 3", "mean", "lost"]


def test_another_data_set_with_the_same_classes(zoo, benched) -> None:
    """By its folder; corrupted too."""
    other = shutil.copytree(benched.folder / "data" / "cifar10-tiny", benched.folder / "copy")
    next((other / "test" / "cat").glob("*.png")).unlink()
    shown = rows(zoo("evaluate", "runs", "--dataset", "./copy", "--corrupt", "dark", "--format", "markdown").stdout)
    assert [name for name in shown[0] if name.startswith("dark")] == [f"dark {level}" for level in range(1, 6)]


def test_one_seed_gets_no_verdict_against_a_baseline(zoo) -> None:
    chosen = ("--corrupt", "dark", "--severity", "1,2", "--limit", "20", "--baseline", "resnet20_bn")
    text = zoo("evaluate", "runs", *chosen, "--format", "markdown").stdout
    accuracies, differences = text.split("**Differences from resnet20_bn**")
    mean = {row["model"]: float(row["mean"]) for row in rows(accuracies)}
    shown = rows(differences)
    assert {row["model"] for row in shown} == set(MODELS) - {"resnet20_bn"}
    assert {row["verdict"] for row in shown} == {"needs 3 seeds"}
    for row in shown:
        if row["column"] == "mean":
            assert float(row["difference"]) == pytest.approx(mean[row["model"]] - mean["resnet20_bn"], abs=0.02)


def test_a_baseline_alone_has_nothing_beside_it(zoo, benched) -> None:
    chosen = ("--corrupt", "dark", "--severity", "1", "--limit", "10", "--baseline", "resnet20_bn")
    text = zoo("evaluate", run_folder(benched.runs, "resnet20_bn"), *chosen).stdout
    assert "Nothing to test against resnet20_bn" in text


def test_csv_is_the_same_records(zoo, records) -> None:
    text = zoo("evaluate", "runs", "--limit", "20", "--format", "csv").stdout
    for row, told in zip(csv.DictReader(io.StringIO(text)), records("--limit", "20"), strict=True):
        told["unusual"] = " ".join(told["unusual"])
        assert row == {key: "" if value is None else str(value) for key, value in told.items()}


def test_a_copy_of_a_run_counts_once(zoo, benched, tmp_path: Path) -> None:
    shutil.copytree(benched.runs, tmp_path / "copy")
    assert len(rows(zoo("evaluate", "runs", tmp_path / "copy", "--format", "markdown").stdout)) == 3


def test_a_diverged_run_beside_others_is_named(zoo, benched, tmp_path: Path) -> None:
    folder = shutil.copytree(benched.runs, tmp_path / "runs")
    diverge(run_folder(folder, "resnet20_ln"))
    output = zoo("evaluate", folder, "--limit", "10")
    assert output.stdout.endswith("resnet20_ln seed 0 diverged at epoch 2: no weights to evaluate.\n")
    output = zoo("evaluate", folder, "--limit", "10", "--format", "json")
    assert len(json.loads(output.stdout)) == 2
    assert "diverged at epoch 2" in output.stderr


def test_help_names_every_corruption(zoo) -> None:
    words = zoo("evaluate", "--help").stdout.replace(",", " ").replace(".", " ").split()
    assert set(CORRUPTIONS) <= set(words)


def test_data_list_shows_test_sets(zoo, benched) -> None:
    output = zoo("data", "list").stdout
    assert str(benched.folder / "data" / "CIFAR-10-C") in output
    assert "cifar100-c" in output


# --- mistakes ---


def diverge(folder: Path) -> None:
    """Make a finished run one that diverged."""
    result = json.loads((folder / "result.json").read_text())
    result |= {"status": "diverged", "diverged_epoch": 2, "diverged_step": 1, "test": None, "holdout": None}
    (folder / "result.json").write_text(json.dumps(result | {"train": None, "epochs_to_90_percent_of_final": None}))
    for name in ("model.safetensors", "predictions.npz"):
        (folder / name).unlink()


def edit_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the stored arrays in place."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


MISTAKES: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("no run", (), ("Missing argument", "RUN")),
    ("no such folder", ("nowhere",), ("no runs in nowhere", "zoo bench MODEL")),
    ("no results", ("data",), ("no result.json under data", "zoo bench MODEL")),
    ("corruption", ("runs", "--corrupt", "noise,blurr"), ("unknown corruption 'blurr'", "did you mean 'blur'")),
    ("corruption, nothing near", ("runs", "--corrupt", "xyz"), ("'xyz'", "there are noise, shot", "or all")),
    ("no corruption", ("runs", "--corrupt", ","), ("--corrupt", "names with commas")),
    ("corruption of the set", ("runs", "--dataset", "cifar10-c", "--corrupt", "frog"),
     ("unknown corruption 'frog'", "CIFAR-10-C", "did you mean 'fog'")),
    ("severity", ("runs", "--corrupt", "fog", "--severity", "1,6"), ("--severity", "'6'", "1 to 5")),
    ("severity in words", ("runs", "--corrupt", "fog", "--severity", "mild"), ("'mild'", "whole number")),
    ("severity of nothing", ("runs", "--severity", "1"), ("--severity needs --corrupt", "cifar10-c")),
    ("batch size", ("runs", "--batch-sizes", "0,2"), ("--batch-sizes", "'0'", "1 or more")),
    ("baseline", ("runs", "--corrupt", "fog", "--baseline", "resnet20_bm"),
     ("unknown baseline 'resnet20_bm'", "the evaluated runs", "did you mean 'resnet20_bn'")),
    ("baseline of own images", ("runs", "--limit", "9", "--baseline", "resnet20_bn"),
     ("--baseline needs", "--corrupt", "`zoo compare --baseline MODEL`")),
    ("limit", ("runs", "--limit", "0"), ("--limit", "0", "x>=1")),
    ("format", ("runs", "--format", "latex"), ("'latex'", "'markdown'", "'json'")),
    ("device", ("runs", "--device", "gpu"), ("--device gpu", "auto, cpu, cuda")),
    ("data set", ("runs", "--dataset", "cifar10.2"), ("unknown dataset 'cifar10.2'", "did you mean 'cifar10.1'")),
    ("classes", ("runs", "--dataset", "shapes10"),
     ("resnet20_bn/seed0", "trained on cifar10-tiny", "'airplane' there and 'circle' here", "same classes")),
    ("set not there", ("runs", "--dataset", "cifar100-c"),
     ("'cifar100-c' not found", "data/CIFAR-100-C", "labels.npy")),
    ("registry", ("runs", "--registry", "nowhere.yaml"), ("--registry", "nowhere.yaml", "no such file")),
]  # fmt: skip


def check(output: SimpleNamespace, *says: str) -> None:
    """One helpful line."""
    assert output.stdout == ""
    assert "Traceback" not in output.stderr
    assert output.stderr.startswith("zoo: ")
    assert output.stderr.count("\n") == 1, output.stderr
    for part in says:
        assert part in output.stderr, f"not said: {part}"


@pytest.mark.parametrize(("arguments", "says"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_mistake(zoo, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    check(zoo("evaluate", *arguments, code=2), *says)


@pytest.fixture
def copied(benched, tmp_path: Path) -> Path:
    """A copy of one run."""
    return shutil.copytree(run_folder(benched.runs, "resnet20_ln"), tmp_path / "run")


def test_no_weights(zoo, copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    check(
        zoo("evaluate", copied, code=2),
        f"{copied}: has a result but no model.safetensors",
        "train it again with `zoo bench resnet20_ln --recipe ",
    )


def test_damaged_weights(zoo, copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    check(zoo("evaluate", copied, code=2), f"{path}: the weights cannot be read")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda weights: weights.pop("conv1.weight"), "has no 'conv1.weight'"),
        (lambda weights: weights.update(more=np.zeros(2, np.float32)), "has an unknown 'more'"),
        (lambda weights: weights.update({"conv1.weight": np.zeros((16, 1, 3, 3), np.float32)}),
         "'conv1.weight' is (16, 1, 3, 3), expected (16, 3, 3, 3)"),
    ],
)  # fmt: skip
def test_weights_of_another_model(zoo, copied: Path, change, says: str) -> None:
    edit_weights(copied, change)
    check(zoo("evaluate", copied, code=2), "does not fit resnet20_ln", says)


def test_diverged_run(zoo, copied: Path) -> None:
    diverge(copied)
    check(zoo("evaluate", copied, code=2), f"{copied}: the run diverged at epoch 2", "no weights")


def test_two_different_runs_of_one_seed(zoo, benched, copied: Path) -> None:
    result = json.loads((copied / "result.json").read_text())
    (copied / "result.json").write_text(json.dumps(result | {"started": "2000-01-01T00:00:00+00:00"}))
    check(zoo("evaluate", benched.runs, copied, code=2), "two different runs of resnet20_ln seed 0", "name one of them")


def test_edited_registry(zoo, benched, tmp_path: Path) -> None:
    """The same name, other arguments: these weights are not of that model."""
    (tmp_path / "registry.yaml").write_text(
        'norms:\n  ln: {builder: "torch.nn:GroupNorm", kwargs: {num_groups: 2}, override: true}\n'
    )
    command = ("evaluate", benched.runs, "--registry", tmp_path / "registry.yaml")
    check(zoo(*command, code=2), "seed0", "another definition of resnet20_ln", f"{tmp_path}/registry.yaml:2")


def test_registry_that_is_elsewhere(zoo, benched, tmp_path: Path) -> None:
    mine = run_folder(benched.runs, "resnet20_mine")
    output = zoo("evaluate", mine, code=2, cwd=tmp_path)
    check(output, f"{mine}: unknown model 'resnet20_mine'", "--registry names the file it was")
    named = ("--registry", benched.folder / "registry.yaml", "--format", "markdown")
    (row,) = rows(zoo("evaluate", mine, *named, cwd=tmp_path).stdout)
    assert row["model"] == "resnet20_mine"


def test_own_data_that_changed(zoo, benched, tmp_path: Path) -> None:
    folder = shutil.copytree(benched.folder / "data" / "cifar10-tiny", tmp_path / "cifar10-tiny")
    next((folder / "test" / "cat").glob("*.png")).unlink()
    check(
        zoo("evaluate", "runs", "--data-dir", tmp_path, code=2),
        "another cifar10-tiny than the one found now",
        "--data-dir",
    )


def test_bench_on_a_test_set(zoo) -> None:
    output = zoo("bench", "resnet20_bn", "--recipe", "smoke", "--dataset", "cifar10.1", code=2)
    check(output, "'cifar10.1' has test images only", "`zoo evaluate RUN --dataset cifar10.1`")


@pytest.mark.parametrize("views", ["mirror_evaluation=true", "shifted_evaluation=2"])
def test_a_recipe_that_looks_more_than_once(zoo, benched, tiny, tmp_path: Path, views: str) -> None:
    zoo("bench", MODELS[0], "--dataset", "cifar10-tiny", *tiny, "--set", views, "--runs", tmp_path)
    (told,) = json.loads(zoo("evaluate", tmp_path, "--format", "json").stdout)
    assert told["same_as_stored"]
    assert told["loss"] == pytest.approx(stored(tmp_path, MODELS[0])["loss"])
    assert told["loss"] != pytest.approx(stored(benched.runs, MODELS[0])["loss"])
