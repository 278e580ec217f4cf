"""What recipes assume of a dataset: one size of images, and constants of normalisation that are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import CLASSES, CPU, HOLDOUT, IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, Silent, recipe

from zoo.data.datasets import Dataset
from zoo.errors import RecipeError, ResultError
from zoo.export.card import config
from zoo.export.graph import normalisation
from zoo.recipes.catalogue import recipe_names
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.registry.merge import Registry, load_registry
from zoo.results.folder import load_result, save_result
from zoo.runner.checks import check, check_data
from zoo.runner.inputs import Inputs
from zoo.runner.runs import planned_runs
from zoo.runner.settings import Settings
from zoo.runner.sweep import bench
from zoo.trained.load import TrainedRun, open_run

FROM_TRAIN = "augment={train: [HorizontalFlip: {p: 0.5}, Normalize: {from: train}], eval: [Normalize: {from: train}]}"


def dataset(images: np.ndarray = IMAGES, test_images: np.ndarray = TEST_IMAGES, **arrays: np.ndarray) -> Dataset:
    arrays = {
        "train_images": images, "train_labels": LABELS.astype(np.int64),
        "test_images": test_images, "test_labels": TEST_LABELS.astype(np.int64),
    } | arrays  # fmt: skip
    return Dataset("tiny", tuple("abcd"[:CLASSES]), "d" * 64, "made here", Path("/nowhere"), arrays)


def inputs(wanted: Recipe, images: Dataset | None = None, executor: Any = "auto") -> Inputs:
    return Inputs(wanted, images or dataset(), Settings(CPU, "nchw", executor, 0, False, False))


def of_size(side: int, count: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


# Sizes


def laptop(*overrides: str) -> Recipe:
    sizes = ("batch_size=16", "split.holdout=16", "precision=fp32", *overrides)
    return load_recipe("laptop", sizes)


def test_96x96_images_under_laptop_are_refused_in_one_line_that_names_both_sizes_and_the_key() -> None:
    large = dataset(of_size(96), of_size(96, 20))
    with pytest.raises(RecipeError) as refused:
        check_data(inputs(laptop(), large))
    assert str(refused.value) == (
        "recipe 'laptop' trains on images of 32x32 and evaluates on 96x96; begin both lists of `augment` with the same "
        "Resize, or allow it with set other_evaluation_size=true"
    )
    resized = [f"augment.{part}=[{{Resize: {{height: 32, width: 32}}}}]" for part in ("train", "eval")]
    check_data(inputs(laptop(*resized), large))
    for wrong in ("{height: 48, width: 32}", "{height: 32, width: 48}"):
        with pytest.raises(RecipeError, match="trains on images of 32x32 and evaluates on"):
            check_data(inputs(laptop(f"augment.eval=[{{Resize: {wrong}}}]"), large))


def test_where_two_sizes_are_asked_for_all_speeds_of_a_row_are_of_the_size_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = inputs(laptop("other_evaluation_size=true"), dataset(of_size(96), of_size(96, 20)))
    check_data(asked)
    assert (asked.train_shape, asked.shape) == ((3, 32, 32), (3, 96, 96))
    from zoo.runner import measure

    shapes = []
    monkeypatch.setattr(measure.throughput, "measure_training", lambda *_, **__: pytest.fail("not asked for"))
    monkeypatch.setattr(measure, "train", lambda *_: (torch.nn.Identity(), None))

    def note(module: Any, device: Any, precision: str, layout: str, shape: tuple[int, ...]) -> None:
        shapes.append(shape)
        raise KeyboardInterrupt

    monkeypatch.setattr(measure.speed, "measure_inference", note)
    model = load_registry().resolve("resnet20_bn")
    with pytest.raises(KeyboardInterrupt):
        measure.measure(model, asked, "nchw", seconds=1, peak_flops=1)
    assert shapes == [(3, 32, 32)]


@pytest.mark.parametrize("name", recipe_names())
def test_no_built_in_recipe_is_refused_on_images_of_the_built_in_size(name: str) -> None:
    few = ["batch_size=16", "split.holdout=16"] + ["split.train=32"] * (name == "smoke")
    check_data(inputs(load_recipe(name, few), dataset(of_size(32), of_size(32, 20))))


def test_a_key_that_is_off_is_not_in_the_fingerprint() -> None:
    plain = recipe()
    assert "other_evaluation_size" not in plain.canonical()
    assert recipe("other_evaluation_size=false").fingerprint == plain.fingerprint
    assert recipe("other_evaluation_size=true").fingerprint != plain.fingerprint


# Normalize: {from: train}


@pytest.mark.parametrize("executor", ["batched", "albumentations"])
def test_constants_are_those_of_the_images_trained_on(executor: str) -> None:
    wanted = inputs(recipe(FROM_TRAIN), executor=executor)
    rows, holdout = wanted.rows
    pixels = IMAGES[rows].astype(np.float64) / 255
    computed = wanted.normalization
    assert len(holdout) == HOLDOUT
    assert computed is not None
    np.testing.assert_allclose(computed.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(computed.std, pixels.std((0, 1, 2)), rtol=1e-12)
    batch = torch.cat([images for images, _ in wanted.train_loader("nchw", 0).epoch(0)])
    torch.testing.assert_close(batch.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    smaller = inputs(recipe(FROM_TRAIN, "split.train=20")).normalization
    assert smaller != computed
    assert inputs(recipe(FROM_TRAIN)).normalization == computed


def test_it_is_in_the_fingerprint_as_it_is_written() -> None:
    written = recipe(FROM_TRAIN)
    assert written.canonical()["augment"]["eval"] == [{"Normalize": {"from": "train"}}]
    assert written.fingerprint not in (recipe().fingerprint, recipe(FROM_TRAIN.replace("train: [Hor", "train: [Ver")))


@pytest.mark.parametrize("arguments", ["{from: test}", "{from: train, p: 1.0}", "{from: null}", "{from: [train]}"])
def test_anything_else_after_from_is_refused_when_the_recipe_is_read(arguments: str) -> None:
    with pytest.raises(RecipeError, match=r"augment: eval: `from` of Normalize is train, without other arguments"):
        recipe(f"augment.eval=[{{Normalize: {arguments}}}]")


def test_a_channel_of_one_value_is_refused() -> None:
    grey = IMAGES.copy()
    grey[..., 2] = 7
    with pytest.raises(RecipeError, match="all pixels of a channel have one value in the 48 images trained on"):
        check_data(inputs(recipe(FROM_TRAIN), dataset(grey)))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.delenv("ZOO_REGISTRY", raising=False)
    monkeypatch.setattr("zoo.engine.speed.INFERENCE_BATCHES", {"cpu": (8,)})
    monkeypatch.setattr("zoo.engine.speed.LATENCIES", 50)
    (tmp_path / "registry.yaml").write_text(
        'architectures:\n  tiny: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
    )
    return load_registry(folder=tmp_path)


def trained(folder: Path, registry: Registry, wanted: Inputs) -> TrainedRun:
    runs = planned_runs([registry.resolve("tiny_bn")], [0], wanted.recipe, "tiny", folder / "runs")
    check(runs, wanted)
    bench(runs, wanted, Silent())
    return open_run(folder / "runs", registry)


def test_what_was_computed_is_kept_and_used_by_all_that_opens_the_run(tmp_path: Path, registry: Registry) -> None:
    wanted = inputs(recipe(FROM_TRAIN, "epochs=1", "schedule.warmup_epochs=0"))
    run = trained(tmp_path, registry, wanted)
    computed = run.result.dataset.normalization
    assert computed == wanted.normalization
    # Other images are normalised by the constants of those trained on, not by their own.
    dark = TEST_IMAGES // 4
    seen = next(iter(run.loader(dark, TEST_LABELS.astype(np.int64), 20, CPU)))[0]
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (computed.mean, computed.std))
    expected = (torch.tensor(dark).permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)
    # An export states numbers.
    constants = normalisation(run)
    assert (constants.mean, constants.std) == (computed.mean, computed.std)
    facts = config(run, constants, (8, 8))
    assert (facts["mean"], facts["std"]) == (list(computed.mean), list(computed.std))
    assert run.result.recipe.content["augment"]["eval"] == [{"Normalize": {"from": "train"}}]


def test_a_result_without_its_constants_is_damaged(tmp_path: Path, registry: Registry) -> None:
    run = trained(tmp_path, registry, inputs(recipe(FROM_TRAIN, "epochs=1", "schedule.warmup_epochs=0")))
    lost = run.result.dataset.model_copy(update={"normalization": None})
    save_result(run.folder.result, run.result.model_copy(update={"dataset": lost}))
    with pytest.raises(ResultError, match="normalization: null, but the recipe computes it"):
        load_result(run.folder.result)
