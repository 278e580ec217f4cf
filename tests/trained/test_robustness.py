"""Batch statistics, conditions and records on models and images worked out by hand, and the tables made of records."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from made_results import STANDARD
from torch import nn

from zoo.builder.construct import build
from zoo.comparison.verdict import MARGIN, Sample, judge, variance_of_flips
from zoo.data.augment.corrupt import corrupt
from zoo.data.datasets import Dataset, load
from zoo.data.test_sets import ShiftedSet
from zoo.engine.counts import count_macs
from zoo.engine.evaluate import BatchStatistics, evaluate
from zoo.errors import DataError, Option, RegistryError, ResultError
from zoo.registry.merge import load_registry
from zoo.render.robustness import render
from zoo.results.recipe_part import RecipePart
from zoo.trained.load import TrainedRun, check_classes, check_own
from zoo.trained.robustness import BATCH, RUNNING, Pass, Record, conditions, evaluate_runs
from zoo.trained.tables import Contrast, contrasts

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


def test_test_images_larger_than_memory_are_copied_by_nobody(shapes: Dataset, monkeypatch) -> None:
    """The map itself is evaluated; a copy, which a corruption needs, is refused with the number that fits."""
    monkeypatch.setattr("zoo.trained.robustness.usable_memory", lambda: 4_000_000)
    clean, foggy = conditions(shapes, ["fog"], [1])
    assert np.shares_memory(clean.load()[0], shapes.test.images)
    wanted = r"1,000 test images of 32x32 pixels, changed, take 3\.07 MB of memory, of which 2 MB are for"
    with pytest.raises(DataError, match=wanted) as caught:
        foggy.load()
    limit = next(part.value for part in caught.value.parts if isinstance(part, Option))
    _, foggy = conditions(shapes, ["fog"], [1], int(limit))
    assert len(foggy.load()[0]) == int(limit) == 651


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
        model=part(norm="bn", batch_dependent=None, macs=count_macs(module, (3, 32, 32), CPU)),
        recipe=RecipePart.model_construct(
            name="r",
            fingerprint="f" * 64,
            content=STANDARD | {"augment": {"train": [], "eval": []}},
        ),
        dataset=part(name="shapes10", fingerprint=shapes.fingerprint, classes=list(shapes.classes), notes=[]),
        selection=part(split="holdout"),
        settings=part(executor="batched", layout="nchw"),
        test=part(accuracy=0.5),
        commit=None,
        uncommitted=False,
        transforms=lambda phase: [],
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

    with pytest.raises(RegistryError, match="fails in evaluation: ValueError: one at a time"):
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
        DataError, match="with 10 classes, but cifar100-c has 100; evaluate it on a dataset with the same"
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


def test_a_batch_dependent_run_is_marked_and_seeds_are_named() -> None:
    runs = [replace(CLEAN, seed=seed, batch_dependent=256) for seed in (4, 7)]
    images = [replace(run, dataset="other", dataset_fingerprint="e" * 64) for run in runs]
    for records in (images, [*images, *(replace(run, corruption="noise", severity=1) for run in images)]):
        text = render(records, "markdown")
        assert (table(text)[0]["model"], table(text)[0]["seeds"]) == ("m_bn§", "2 (4, 7)")
        assert "§ batch-dependent: predictions depend on the other images of the evaluation batch (256 images)" in text
    assert "m_bn§" in render(runs, "text")


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


# --- differences from a baseline ---

SHIFTS = (-0.005, 0.0, 0.005)  # of three seeds


def seeds(accuracies: Iterable[float], *, model: str = "m_bn", fog: float = 0.1, dark: float = 0.2) -> list[Record]:
    """Of each seed a record of clean, foggy and dark images; the last two have lost so much."""
    clean = [replace(CLEAN, model=model, seed=seed, accuracy=accuracy) for seed, accuracy in enumerate(accuracies)]
    lost = [
        replace(record, corruption=name, severity=1, accuracy=record.accuracy - gap, gap=gap, same_as_stored=None)
        for record in clean
        for name, gap in (("fog", fog), ("dark", dark))
    ]
    return [*clean, *lost]


def about(accuracy: float) -> list[float]:
    """Three seeds."""
    return [accuracy + shift for shift in SHIFTS]


def verdicts(
    records: Iterable[Record], diverged: Iterable[Any] = (), margin: float = MARGIN
) -> dict[tuple[str, str], str]:
    """Model and column to the verdict."""
    shifts = contrasts(records, "m_bn", diverged, margin)
    return {(contrast.row[0], contrast.column): contrast.against.verdict.split(" (n=")[0] for contrast in shifts}


def test_words_of_robustness_tables_are_those_of_comparisons() -> None:
    """The one function from accuracies to verdicts decides, on the means of each seed."""
    records = [*seeds(about(0.9)), *seeds(about(0.8), model="m_ln", fog=0.02), *seeds(about(0.85), model="m_gn")]
    shifts = contrasts(records, "m_bn", [], MARGIN)
    floor = variance_of_flips(10_000)
    samples = [Sample(tuple(about(mean)), floor) for mean in (0.75, 0.70, 0.69)]
    wanted = dict(zip(("m_gn", "m_ln"), judge(samples[0], samples[1:], columns=5), strict=True))
    mean = {contrast.row[0]: contrast.against for contrast in shifts if contrast.column == "mean"}
    assert list(mean) == ["m_gn", "m_ln"]  # best first
    for model, verdict in wanted.items():
        assert mean[model].difference == pytest.approx(verdict.difference)
        assert mean[model].p_value == pytest.approx(verdict.p_value)
        assert mean[model].interval == pytest.approx(verdict.interval)
        assert mean[model].detectable == pytest.approx(verdict.detectable)
        assert mean[model].verdict == verdict.words(MARGIN)
        assert (mean[model].n, mean[model].family, mean[model].baseline) == (3, 2, "m_bn")
    assert {contrast.column for contrast in shifts} == {"clean", "fog", "dark", "mean", "lost"}


def test_what_is_lost_is_better_where_it_is_less() -> None:
    shifts = verdicts([*seeds(about(0.9)), *seeds(about(0.8), model="m_ln", fog=0.0, dark=0.0)])
    assert shifts["m_ln", "clean"] == "worse"
    assert shifts["m_ln", "lost"] == "better"
    shifts = verdicts([*seeds(about(0.9)), *seeds(about(0.9), model="m_ln", fog=0.4, dark=0.5)])
    assert (shifts["m_ln", "lost"], shifts["m_ln", "mean"]) == ("worse", "worse")
    assert shifts["m_ln", "clean"] == "not significant"


def test_forking_paths_over_models_and_corruptions_are_corrected() -> None:
    """What one corruption alone would show is not significant as one of many columns."""
    base, other = seeds(about(0.9)), seeds(about(0.9), model="m_ln", fog=0.12)
    fog = [record for record in (*base, *other) if record.corruption in (None, "fog")]  # clean, fog 1 and lost
    few, many = (contrasts(records, "m_bn", [], MARGIN) for records in (fog, [*base, *other]))
    (alone,) = (each.against for each in few if each.column == "fog 1")
    (beside,) = (each.against for each in many if each.column == "fog")
    sample = Sample(tuple(about(0.8)), variance_of_flips(10_000))
    (uncorrected,) = judge(sample, [replace(sample, accuracies=tuple(about(0.78)))])
    assert uncorrected.p_value < 0.05
    assert alone.p_value == pytest.approx(3 * uncorrected.p_value)
    assert beside.p_value == pytest.approx(5 * uncorrected.p_value)
    assert beside.verdict == "not significant (n=3)"


def test_rows_that_cannot_have_a_verdict_are_in_no_family_of_a_robustness_table() -> None:
    base, other = seeds(about(0.9)), seeds(about(0.8), model="m_ln")
    short = [seeds([0.5, 0.5], model=f"m_{number}") for number in range(5)]
    alone = contrasts([*base, *other], "m_bn", [], MARGIN)
    beside = contrasts(sum(short, [*base, *other]), "m_bn", [], MARGIN)
    assert [each for each in beside if each.row[0] == "m_ln"] == alone
    assert {each.against.verdict for each in beside if each.row[0] != "m_ln"} == {"needs 3 seeds"}
    assert {each.against.p_value for each in beside if each.row[0] != "m_ln"} == {None}
    assert {each.against.verdict for each in contrasts([*seeds([0.9, 0.8]), *other], "m_bn", [], MARGIN)} == {
        "needs 3 seeds"
    }


@pytest.mark.parametrize("model", ["m_bn", "m_ln"])
def test_a_seed_that_diverged_leaves_no_verdict(model: str) -> None:
    records = [*seeds(about(0.9)), *seeds(about(0.5), model="m_ln"), *seeds(about(0.5), model="m_gn")]
    part = SimpleNamespace
    lost = part(dataset=part(fingerprint="d" * 64), recipe=part(fingerprint="a" * 64), model=part(name=model), seed=9)
    shifts = verdicts(records, [lost])
    assert shifts["m_ln", "fog"] == "a seed diverged"
    assert shifts["m_gn", "fog"] == ("a seed diverged" if model == "m_bn" else "worse")
    elsewhere = part(dataset=part(fingerprint="e" * 64), recipe=lost.recipe, model=lost.model, seed=9)
    assert verdicts(records, [elsewhere]) == verdicts(records)


def test_floor_of_a_robustness_table_is_that_of_its_images() -> None:
    """Seeds that agree by chance make no verdict of a difference that so few images cannot show."""
    records = [*seeds([0.9] * 3), *seeds([0.89] * 3, model="m_ln")]
    few = [replace(record, images=1000) for record in records]
    many = [replace(record, images=1_000_000) for record in records]
    assert verdicts(few)["m_ln", "fog"] == "not significant"
    assert verdicts(many)["m_ln", "fog"] == "worse"
    assert verdicts([*seeds([0.9] * 3), *seeds([0.9] * 3, model="m_ln")], margin=0.05)["m_ln", "fog"] == (
        "equal within 5 points"
    )


def test_batch_sizes_and_modes_have_differences_where_a_model_has_both() -> None:
    def of(model: str, mode: str, size: int, accuracies: Iterable[float | None]) -> list[Record]:
        return [
            replace(CLEAN, model=model, mode=mode, batch_size=size, seed=seed, accuracy=accuracy)
            for seed, accuracy in enumerate(accuracies)
        ]

    records = [
        *(record for size in (1, 8) for record in of("m_bn", RUNNING, size, about(0.9))),
        *(record for size in (1, 8) for record in of("m_ln", RUNNING, size, about(0.7))),
        *(record for size in (1, 8) for record in of("m_brn", RUNNING, size, about(0.9))),
        *(record for model in ("m_bn", "m_brn") for record in of(model, BATCH, 8, about(0.8))),
        *(record for model in ("m_bn", "m_brn") for record in of(model, BATCH, 1, [None] * 3)),
        *(record for size in (1, 8) for record in of("m_ln", BATCH, size, [None] * 3)),
    ]
    shifts = contrasts(records, "m_bn", [], MARGIN)
    assert {(each.row[0], each.row[1][0], each.column): each.against.verdict.split(" (n")[0] for each in shifts} == {
        ("m_ln", RUNNING, "batch 1"): "worse",
        ("m_ln", RUNNING, "batch 8"): "worse",
        ("m_brn", RUNNING, "batch 1"): "not significant",
        ("m_brn", RUNNING, "batch 8"): "not significant",
        ("m_brn", BATCH, "batch 8"): "not significant",
    }
    assert {each.columns for each in shifts} == {3}


def test_other_images_have_differences_in_accuracy_and_in_what_is_lost() -> None:
    def of(model: str, accuracy: float, gap: float) -> list[Record]:
        return [
            replace(
                CLEAN, model=model, seed=seed, dataset="cifar10.1", dataset_fingerprint=None, accuracy=each, gap=gap
            )
            for seed, each in enumerate(about(accuracy))
        ]

    records = [*of("m_bn", 0.8, 0.1), *of("m_ln", 0.7, 0.1)]
    assert verdicts(records)["m_ln", "cifar10.1 %"] == "worse"
    assert verdicts(records)["m_ln", "lost"] in ("not significant", "equal within 1 points")
    assert verdicts([replace(record, dataset_fingerprint="d" * 64) for record in records]) == {}  # `zoo compare`'s


def test_a_table_without_the_baseline_has_no_differences() -> None:
    other = [replace(record, recipe_fingerprint="b" * 64) for record in seeds(about(0.5), model="m_ln")]
    shifts = contrasts([*seeds(about(0.9)), *other], "m_bn", [], MARGIN)
    assert shifts == []
    text = render([*seeds(about(0.9)), *other], "text", (), shifts)
    assert "verdict" not in text


@pytest.fixture
def compared() -> tuple[list[Record], list[Contrast]]:
    """Two models under two corruptions, with differences."""
    records = [*seeds(about(0.9)), *seeds(about(0.8), model="m_ln")]
    return records, contrasts(records, "m_bn", [], MARGIN)


def test_differences_stand_below_their_table(compared: tuple[list[Record], list[Contrast]]) -> None:
    records, shifts = compared
    text = render(records, "markdown", ["a note"], shifts)
    above, _, below = text.partition("**Differences from m_bn**")
    assert above == render(records, "markdown") + "\n"
    rows = table(below)
    assert [(row["model"], row["column"]) for row in rows] == [
        ("m_ln", name) for name in ("clean", "fog", "dark", "mean", "lost")
    ]
    assert list(rows[0]) == ["model", "norm", "column", "difference", "p", "verdict", "found from"]
    fog = next(each.against for each in shifts if each.column == "fog")
    half = 100 * (fog.interval[1] - fog.interval[0]) / 2
    assert rows[1]["difference"] == f"-10.00 ± {half:.2f}"
    assert rows[1]["p"] == ("< 0.001" if fog.p_value < 0.001 else f"{fog.p_value:.3f}")
    assert rows[1]["verdict"] == fog.verdict
    assert rows[1]["found from"] == f"{100 * fog.detectable:.2f}"
    assert "corrected for 1 row and 5 columns." in below
    assert "is found with a probability of 80 %." in below
    assert text.endswith("a note\n")


def test_differences_of_test_selected_weights_are_marked(compared: tuple[list[Record], list[Contrast]]) -> None:
    records = [replace(record, selection="test") for record in compared[0]]
    text = render(records, "markdown", (), contrasts(records, "m_bn", [], MARGIN))
    assert {row["model"] for row in table(text.partition("**Differences")[2])} == {"m_ln†"}


def test_uncommitted_changes_get_no_verdict_on_other_images_unless_allowed() -> None:
    clean = [*seeds(about(0.9)), *seeds(about(0.8), model="m_ln"), *seeds(about(0.95), model="m_gn")]
    dirty = [replace(record, uncommitted=record.model == "m_gn" and record.seed == 1) for record in clean]
    shifts = {(each.row[0], each.column): each.against.verdict for each in contrasts(dirty, "m_bn", [], MARGIN)}
    assert {shifts["m_gn", name] for name in ("clean", "fog", "mean")} == {"uncommitted changes; no verdict"}
    alone = contrasts([record for record in clean if record.model != "m_gn"], "m_bn", [], MARGIN)
    assert {(each.row[0], each.column): each.against.verdict for each in alone}.items() <= shifts.items()
    allowed = contrasts(dirty, "m_bn", [], MARGIN, allow_dirty=True)
    assert [each.against for each in allowed] == [each.against for each in contrasts(clean, "m_bn", [], MARGIN)]
    base = [replace(record, uncommitted=record.model == "m_bn") for record in clean]
    assert {each.against.verdict for each in contrasts(base, "m_bn", [], MARGIN)} == {
        "uncommitted changes of the baseline; no verdict"
    }


def test_differences_of_batch_dependent_models_are_marked(compared: tuple[list[Record], list[Contrast]]) -> None:
    for model in ("m_bn", "m_ln"):  # the baseline, then the row
        records = [replace(record, batch_dependent=256 if record.model == model else None) for record in compared[0]]
        rows = table(render(records, "markdown", (), contrasts(records, "m_bn", [], MARGIN)).partition("**Diff")[2])
        assert {row["verdict"][-1] for row in rows if "n=" in row["verdict"]} == {"§"}
        assert {row["model"] for row in rows} == {"m_ln§" if model == "m_ln" else "m_ln"}


@pytest.mark.parametrize("style", ["csv", "json"])
def test_differences_are_records_for_programs(style: str, compared: tuple[list[Record], list[Contrast]]) -> None:
    records, shifts = compared
    text = render(records, style, (), shifts)
    shown = json.loads(text) if style == "json" else list(csv.DictReader(io.StringIO(text)))
    assert len(shown) == len(records) + len(shifts)
    plain = [row for row in shown if not row.get("column")]
    assert [(row["model"], float(row["accuracy"])) for row in plain] == [(r.model, r.accuracy) for r in records]
    for row, contrast in zip(shown[len(records) :], shifts, strict=True):
        against = contrast.against
        assert (row["model"], row["column"], row["verdict"]) == ("m_ln", contrast.column, against.verdict)
        assert (row["baseline"], row["recipe"], row["dataset"]) == ("m_bn", "standard", "cifar10")
        assert (int(row["n"]), int(row["family"]), int(row["columns"])) == (3, 1, 5)
        assert [float(row[name]) for name in ("difference", "p_value", "detectable")] == [
            against.difference, against.p_value, against.detectable,
        ]  # fmt: skip
        assert (float(row["difference_low"]), float(row["difference_high"])) == against.interval
        corruption = contrast.column if contrast.column in ("fog", "dark") else None
        assert row["corruption"] in (corruption, corruption or "")
