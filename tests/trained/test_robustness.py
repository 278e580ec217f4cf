"""Batch statistics, conditions and records on models and images worked out by hand, and the tables made of records."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from zoo.builder.construct import build
from zoo.data.augment.corrupt import corrupt
from zoo.data.datasets import Dataset, load
from zoo.data.test_sets import ShiftedSet
from zoo.engine.counts import count_macs
from zoo.engine.evaluate import BatchStatistics, evaluate
from zoo.errors import DataError, ResultError
from zoo.registry.merge import load_registry
from zoo.render.robustness import render
from zoo.results.schema import RecipePart
from zoo.trained.load import TrainedRun, check_classes, check_own
from zoo.trained.robustness import BATCH, RUNNING, Pass, Record, conditions, evaluate_runs

CPU = torch.device("cpu")
NORMS = load_registry(folder=Path(__file__).parents[1]).norms


def silent(text: str) -> None:
    """Progress that nobody reads."""


# --- batch statistics ---


@pytest.mark.parametrize(
    "norm", [name for name, entry in NORMS.items() if entry.builder.startswith(("zoo.", "torch.", "timm."))]
)
def test_batch_statistics_are_found_where_the_registry_says(norm: str) -> None:
    torch.manual_seed(0)
    model = build(load_registry(folder=Path(__file__).parents[1]).resolve(f"resnet20_{norm}")).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(6, 3, 16, 16)
    twin = BatchStatistics(model).eval()
    assert bool(twin.layers) == (not NORMS[norm].batch_independent)
    with torch.inference_mode():
        alone, usual, again = twin(images[:2]), model(images), twin(images)
        assert torch.equal(twin(images), again)  # a batch leaves nothing behind
        assert torch.equal(twin(images[:2]), alone)
    assert torch.equal(usual, again) == NORMS[norm].batch_independent
    assert torch.allclose(again[:2], alone, atol=1e-4) == NORMS[norm].batch_independent
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_batch_statistics_are_those_of_training_and_the_rest_is_not() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=None)  # whose running statistics are means over all batches
    model = nn.Sequential(norm, nn.Dropout(0.9))
    images = torch.randn(8, 3, 4, 4) * 5 + 2
    twin = BatchStatistics(model)
    for _ in range(3):
        wanted = (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), correction=0, keepdim=True)
        evaluation = evaluate(twin, [(images, torch.zeros(8, dtype=torch.int64))], CPU, "fp32")
        assert torch.allclose(evaluation.logits, wanted, atol=1e-4)
    assert norm.num_batches_tracked == 0


# --- conditions ---


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return load("shapes10")


def shifted(names: tuple[str, ...], folder: Path) -> ShiftedSet:
    """A test-only set of 10 images, corrupted where there are `names`."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    files: dict[str | None, Path] = {name: folder / f"{name}.npy" for name in names or (None,)}
    for path in files.values():
        np.save(path, pixels if names else pixels[:10])
    return ShiftedSet("cifar10-c" if names else "cifar10.1", tuple("abcdefghij"), "made", files, np.arange(10))


def test_clean_images_come_first_then_each_corruption_in_each_severity(shapes: Dataset) -> None:
    todo = conditions(shapes, ["fog", "jpeg"], [1, 4], 30)
    assert [(one.corruption, one.severity) for one in todo] == [
        (None, None), ("fog", 1), ("fog", 4), ("jpeg", 1), ("jpeg", 4),
    ]  # fmt: skip
    assert {(one.dataset, one.fingerprint, one.whole) for one in todo} == {("shapes10", shapes.fingerprint, False)}
    images, labels = todo[0].load()
    assert np.bincount(labels).tolist() == [3] * 10
    rows = [next(i for i, image in enumerate(shapes.test.images) if np.array_equal(image, own)) for own in images[:5]]
    assert np.array_equal(labels[:5], shapes.test.labels[rows])
    corrupted, same = todo[2].load()
    assert np.array_equal(same, labels)
    # The pixels that these images have among all of them.
    assert np.array_equal(corrupted[:5], corrupt(shapes.test.images, "fog", 4, np.array(rows)))


@pytest.mark.parametrize("limit", [None, 1000, 10_000])
def test_a_limit_above_the_images_is_all_of_them(shapes: Dataset, limit: int | None) -> None:
    (one,) = conditions(shapes, [], [], limit)
    assert one.whole
    assert np.array_equal(one.load()[0], shapes.test.images)


def test_a_set_that_comes_corrupted_has_no_clean_images(tmp_path: Path) -> None:
    data = shifted(("fog", "snow"), tmp_path)
    todo = conditions(data, ["snow"], [2, 5], 5)
    assert [(one.corruption, one.severity, one.fingerprint) for one in todo] == [("snow", 2, None), ("snow", 5, None)]
    images, labels = todo[1].load()
    assert np.array_equal(images, data.part("snow", 5)[labels])
    np.save(tmp_path / "fog.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"fog\.npy"):
        conditions(data, ["snow", "fog"], [1])


def test_other_test_images_can_be_corrupted(tmp_path: Path) -> None:
    data = shifted((), tmp_path)
    clean, noisy = conditions(data, ["noise"], [5])
    assert np.array_equal(clean.load()[0], data.part())
    assert np.array_equal(noisy.load()[0], corrupt(data.part(), "noise", 5))


# --- runs ---


@dataclass(frozen=True)
class FakeRun(TrainedRun):
    """A run whose weights are those of a module."""

    module: nn.Module

    def load(self, device: torch.device) -> nn.Module:
        return self.module.eval()


def fake_run(module: nn.Module, shapes: Dataset, **changes: Any) -> Any:
    """What the evaluation asks of a run, around any module."""
    part = SimpleNamespace
    result = part(
        seed=0,
        model=part(norm="bn", macs=count_macs(module, (3, 32, 32), CPU)),
        recipe=RecipePart.model_construct(
            name="r", fingerprint="f" * 64, content={"precision": "fp32", "augment": {"eval": []}}
        ),
        dataset=part(name="shapes10", fingerprint=shapes.fingerprint, classes=list(shapes.classes)),
        selection=part(split="holdout"),
        settings=part(executor="batched", layout="nchw"),
        test=part(accuracy=0.5),
    )
    result.__dict__.update(changes)
    return FakeRun(part(path=Path("runs/m/seed0")), result, part(name="m"), module)


def pooled(norm: nn.Module) -> nn.Module:
    """A model whose norm sees one value per image and channel."""
    torch.manual_seed(1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), norm, nn.Flatten(), nn.Linear(3, 10))


def test_one_value_has_no_variance(shapes: Dataset) -> None:
    todo = conditions(shapes, [], [], 30)
    passes = [Pass(size, mode) for size in (1, 7) for mode in (RUNNING, BATCH)]
    records = evaluate_runs([fake_run(pooled(nn.BatchNorm2d(3)), shapes)], todo, passes, CPU, silent)
    assert [(r.batch_size, r.mode, r.accuracy is None) for r in records] == [
        (1, RUNNING, False), (1, BATCH, True), (7, RUNNING, False), (7, BATCH, False),
    ]  # fmt: skip
    assert records[1].missing == "a single value per channel has no variance"
    assert (records[1].loss, records[1].ece, records[1].brier, records[1].top5_accuracy) == (None,) * 4
    assert records[3].images == 30  # 7 does not divide it: the last batch is smaller, and nothing is dropped


def test_a_model_without_batch_statistics(shapes: Dataset) -> None:
    todo = conditions(shapes, [], [], 30)
    (record,) = evaluate_runs([fake_run(pooled(nn.GroupNorm(1, 3)), shapes)], todo, [Pass(4, BATCH)], CPU, silent)
    assert (record.accuracy, record.missing) == (None, "no layer uses batch statistics")


def test_an_answer_that_is_no_number_is_missing(shapes: Dataset) -> None:
    module = pooled(nn.Identity())
    module[-1].weight.data[0, 0] = float("inf")
    (record,) = evaluate_runs([fake_run(module, shapes)], conditions(shapes, [], [], 30), [Pass()], CPU, silent)
    assert record.accuracy is None
    assert "not a number" in record.missing
    assert json.loads(render([record], "json"))[0]["loss"] is None


def test_other_errors_of_a_model_are_not_swallowed(shapes: Dataset) -> None:
    class Picky(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 1:
                raise ValueError("one at a time")
            return torch.zeros(1, 10)

    with pytest.raises(ValueError, match="one at a time"):
        evaluate_runs([fake_run(Picky(), shapes)], conditions(shapes, [], [], 30), [Pass()], CPU, silent)


def test_images_of_another_size_than_in_training(shapes: Dataset) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 10))
    run = fake_run(module, shapes)
    run.result.model.macs = count_macs(module, (3, 16, 16), CPU)
    with pytest.raises(ResultError, match=r"runs/m/seed0: m on shapes10, images of shape \(3, 32, 32\).*another size"):
        evaluate_runs([run], conditions(shapes, [], [], 30), [Pass()], CPU, silent)
    run = replace(run, module=nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10)))
    with pytest.raises(ResultError, match=r"fails: RuntimeError: .*resize the images to those of shapes10"):
        evaluate_runs([run], conditions(shapes, [], [], 30), [Pass()], CPU, silent)


def test_progress_has_a_line_for_each_run_and_condition(shapes: Dataset) -> None:
    lines: list[str] = []
    run = fake_run(pooled(nn.Identity()), shapes)
    records = evaluate_runs([run, run], conditions(shapes, ["dark"], [2], 30), [Pass()], CPU, lines.append)
    assert [line.split("]")[0] for line in lines] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert lines[3].startswith("[4/4] m seed 0 on shapes10, dark 2: ")
    assert records[2].gap == pytest.approx(records[0].accuracy - records[2].accuracy)
    assert records[0].gap is None


def test_classes_and_data_must_be_those_of_the_run(shapes: Dataset) -> None:
    run = fake_run(pooled(nn.Identity()), shapes)
    check_classes(run, "shapes10", shapes.classes)
    with pytest.raises(
        DataError, match="with 10 classes, but cifar100-c has 100; evaluate it on a data set with the same"
    ):
        check_classes(run, "cifar100-c", ["x"] * 100)
    with pytest.raises(DataError, match="number 1 is 'ring' there and 'bird' here"):
        check_classes(run, "birds", ["circle", "bird", *shapes.classes[2:]])
    check_own(run, shapes)
    with pytest.raises(DataError, match="another shapes10 than the one found now"):
        check_own(run, replace(shapes, fingerprint="0"))


# --- tables ---

CLEAN = Record(
    model="m_bn", norm="bn", seed=0, recipe="standard", recipe_fingerprint="a" * 64, selection="holdout",
    precision="fp32", trained_on="cifar10", trained_on_fingerprint="d" * 64, stored_accuracy=0.9, dataset="cifar10",
    dataset_fingerprint="d" * 64, corruption=None, severity=None, mode=RUNNING, batch_size=256, images=10_000,
    pixels="0" * 16, accuracy=0.9, top5_accuracy=0.99, loss=0.5, ece=0.05, brier=0.2, same_as_stored=True, missing=None,
)  # fmt: skip


def corrupted(name: str, severity: int, accuracy: float | None, **changes: Any) -> Record:
    """A record of corrupted images; its gap is to 0.9."""
    gap = None if accuracy is None else 0.9 - accuracy
    changes = {"same_as_stored": None, **changes}
    return replace(CLEAN, corruption=name, severity=severity, accuracy=accuracy, gap=gap, **changes)


def table(text: str) -> list[dict[str, str]]:
    """The rows of the only Markdown table."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_own_images_have_a_row_per_run() -> None:
    text = render([CLEAN, replace(CLEAN, seed=1, accuracy=0.8, same_as_stored=False)], "markdown")
    first, second = table(text)
    assert (first["seed"], first["accuracy %"], first["stored %"], first["same"]) == ("0", "90.00", "90.00", "yes")
    assert (first["loss"], first["top-5 %"], first["ECE"], first["Brier"]) == ("0.500", "99.00", "0.050", "0.200")
    assert (second["seed"], second["accuracy %"], second["same"]) == ("1", "80.00", "NO")
    assert "last bits differ" in text
    assert text.startswith("**cifar10, 10,000 test images; trained on cifar10, recipe standard-aaaaaaaa, fp32**")
    assert "± 1.0 points" in text  # 0.98 of 10,000 images


def test_seeds_are_pooled_with_a_student_interval() -> None:
    accuracies = (0.80, 0.82, 0.87)
    records = [
        replace(CLEAN, dataset="cifar10.1", dataset_fingerprint=None, seed=seed, accuracy=accuracy, gap=0.9 - accuracy)
        for seed, accuracy in enumerate(accuracies)
    ]
    text = render(records, "markdown")
    (row,) = table(text)
    half = scipy.stats.t.ppf(0.975, 2) * 100 * np.std(accuracies, ddof=1) / 3**0.5
    assert row["cifar10.1 %"] == f"83.00 ± {half:.2f}"
    assert row["lost"] == f"7.00 ± {half:.2f}"
    # Three equal values: the rounding, 4.3027 / 3 ** 0.5 times 1e-4 / 12 ** 0.5.
    assert (row["seeds"], row["own test %"], row["loss"]) == ("3", "90.00 ± 0.01", "0.500 ± 0.000")
    assert "Student t" in text


def test_equal_seeds_are_no_certainty_on_few_images() -> None:
    runs = [replace(CLEAN, dataset="tiny", dataset_fingerprint=None, seed=seed, images=100, gap=0.0) for seed in (0, 1)]
    (row,) = table(render(runs, "markdown"))
    # 12.7062 / 24 ** 0.5 steps: of 1 / 100 images, and of 1e-4 where the number of images is not known.
    assert (row["tiny %"], row["lost"], row["own test %"]) == ("90.00 ± 2.59", "0.00 ± 2.59", "90.00 ± 0.03")
    assert row["ECE"] == "0.050 ± 0.000"


def test_corruptions_are_means_over_severities_of_each_seeds() -> None:
    records = [
        CLEAN, corrupted("fog", 1, 0.8), corrupted("fog", 3, 0.6), corrupted("jpeg", 1, 0.7), corrupted("jpeg", 3, 0.5),
    ]  # fmt: skip
    text = render(records, "markdown")
    (row,) = table(text)
    assert list(row) == ["model", "norm", "seeds", "clean", "fog", "jpeg", "mean", "lost"]
    assert [row[name] for name in list(row)[3:]] == ["90.00", "70.00", "60.00", "65.00", "25.00"]
    assert "severities 1, 3" in text
    assert "not CIFAR-10-C's" in text
    assert "1 seed" in text


def test_one_corruption_shows_its_severities() -> None:
    (row,) = table(render([CLEAN, corrupted("fog", 1, 0.8), corrupted("fog", 5, 0.2)], "markdown"))
    assert [row[name] for name in ("clean", "fog 1", "fog 5", "mean", "lost")] == [
        "90.00", "80.00", "20.00", "50.00", "40.00",
    ]  # fmt: skip


def test_without_clean_images_the_stored_accuracy_stands_beside() -> None:
    text = render([corrupted("fog", level, 0.5, dataset="cifar10-c") for level in (1, 2)], "markdown")
    (row,) = table(text)
    assert (row["own test"], row["fog 1"], row["lost"]) == ("90.00", "50.00", "40.00")
    assert "as stored" in text
    assert "zoo's own" not in text


def test_batch_sizes_have_a_row_per_mode() -> None:
    records = [
        replace(CLEAN, model=model, batch_size=size, mode=mode, accuracy=accuracy, missing=missing)
        for model, size, mode, accuracy, missing in (
            ("m_ln", 1, RUNNING, 0.95, None),
            ("m_ln", 1, BATCH, None, "no layer uses batch statistics"),
            ("m_ln", 8, RUNNING, 0.951, None),
            ("m_ln", 8, BATCH, None, "no layer uses batch statistics"),
            ("m_bn", 1, RUNNING, 0.9, None),
            ("m_bn", 1, BATCH, 0.1, None),
            ("m_bn", 8, RUNNING, 0.9, None),
            ("m_bn", 8, BATCH, 0.7, None),
        )
    ]
    text = render(records, "markdown")
    assert [(row["model"], row["mode"], row["batch 1"], row["batch 8"]) for row in table(text)] == [
        ("m_ln", "eval", "95.00", "95.10"), ("m_ln", "batch statistics", "-", "-"),
        ("m_bn", "eval", "90.00", "90.00"), ("m_bn", "batch statistics", "10.00", "70.00"),
    ]  # fmt: skip
    assert "differs by at most 0.10 points" in text
    assert "-: no layer uses batch statistics." in text


def test_modes_and_corruptions_together() -> None:
    records = [
        replace(record, mode=mode, batch_size=8)
        for mode in (RUNNING, BATCH)
        for record in (CLEAN, corrupted("fog", 1, 0.8 if mode == RUNNING else 0.7))
    ]
    rows = table(render(records, "markdown"))
    assert [(row["mode"], row["batch"], row["fog 1"]) for row in rows] == [
        ("eval", "8", "80.00"), ("batch statistics", "8", "70.00"),
    ]  # fmt: skip


def test_unlike_recipes_and_data_stand_in_tables_of_their_own() -> None:
    other = replace(CLEAN, recipe_fingerprint="b" * 64, accuracy=0.99)
    moved = replace(CLEAN, trained_on_fingerprint="e" * 64)
    assert render([CLEAN, other, moved], "text").count("trained on cifar10") == 3
    assert render([CLEAN, replace(CLEAN, model="m_ln")], "text").count("trained on cifar10") == 1


def test_selection_on_the_test_set_is_marked() -> None:
    text = render([replace(CLEAN, selection="test")], "markdown")
    assert table(text)[0]["model"] == "m_bn†"
    assert "† selection: test." in text
    assert "†" not in render([CLEAN], "markdown")


def test_notes_stand_below_the_tables() -> None:
    assert render([CLEAN], "text", ["m_none seed 0 diverged"]).endswith("\nm_none seed 0 diverged\n")


def test_records_for_programs_are_whole() -> None:
    records = [CLEAN, corrupted("fog", 1, None, missing="why")]
    told = json.loads(render(records, "json", ["a note"]))
    assert told[0]["accuracy"] == 0.9
    assert (told[1]["accuracy"], told[1]["missing"], told[0]["missing"]) == (None, "why", None)
    rows = list(csv.DictReader(io.StringIO(render(records, "csv", ["a note"]))))
    assert list(rows[0]) == list(told[0])
    assert (rows[0]["accuracy"], rows[1]["accuracy"], rows[1]["corruption"]) == ("0.9", "", "fog")
    assert rows[1]["severity"] == "1"
