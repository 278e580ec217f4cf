"""What is unusual about a dataset, and what recipes assume of it: one size of images, constants that are its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import CLASSES, CPU, HOLDOUT, IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, Silent, recipe

from zoo.data.choice import Choice
from zoo.data.content import Duplicates, Resized
from zoo.data.datasets import Dataset, load
from zoo.data.statistics import channels
from zoo.errors import RecipeError, ResultError
from zoo.export.card import config
from zoo.export.graph import preparation
from zoo.recipes.catalogue import recipe_names
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.registry.merge import Registry, load_registry
from zoo.results.folder import load_result, save_result
from zoo.results.run import planned_runs
from zoo.runner.checks import check, check_data
from zoo.runner.inputs import Inputs
from zoo.runner.settings import Settings
from zoo.runner.sweep import bench
from zoo.runner.unusual import first_line, unusual
from zoo.trained.load import TrainedRun, open_run

FROM_TRAIN = "augment={train: [HorizontalFlip: {p: 0.5}, Normalize: {from: train}], eval: [Normalize: {from: train}]}"


def dataset(images: np.ndarray = IMAGES, test_images: np.ndarray = TEST_IMAGES, **arrays: np.ndarray) -> Dataset:
    arrays = {
        "train_images": images, "train_labels": LABELS.astype(np.int64),
        "test_images": test_images, "test_labels": TEST_LABELS.astype(np.int64),
    } | arrays  # fmt: skip
    return Dataset(
        name="tiny",
        classes=tuple("abcd"[:CLASSES]),
        fingerprint="d" * 64,
        source="made here",
        folder=Path("/nowhere"),
        arrays=arrays,
    )


def inputs(wanted: Recipe, images: Dataset | None = None, executor: Any = "auto") -> Inputs:
    return Inputs(wanted, images or dataset(), Settings(CPU, "nchw", executor, 0, False, False))


def of_size(side: int, count: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


# What is unusual


def balanced(train: int = 64, test: int = 1000, **changes: Any) -> Dataset:
    """A dataset of four classes with nothing unusual, and `changes` of it."""
    noise = np.random.default_rng(2)
    arrays = {"images": noise.integers(0, 256, (train, 8, 8, 3), dtype=np.uint8)}
    data = dataset(
        arrays["images"], noise.integers(0, 256, (test, 8, 8, 3), dtype=np.uint8), train_labels=np.arange(train) % 4,
        test_labels=np.arange(test) % 4,
    )  # fmt: skip
    return replace(data, channels=channels(arrays["images"]), **changes)


def said(data: Dataset, *overrides: str) -> list[str]:
    return unusual(inputs(recipe(*overrides), data))


def test_of_a_dataset_with_nothing_unusual_the_first_line_gives_images_size_and_classes() -> None:
    assert said(balanced()) == []
    line = "tiny: 64 training and 1,000 test images of 8x8, 4 classes"
    assert first_line([inputs(recipe(), balanced()), inputs(recipe("epochs=4"), balanced())]) == line
    left_out = balanced(left_out={".gif": 2})
    several = [inputs(recipe(), left_out), inputs(recipe("epochs=4"), left_out)]
    assert first_line(several) == f"{line}; 2 files left out: .gif (2)"


def test_files_left_out_are_counted_by_suffix() -> None:
    assert said(balanced(left_out={".tif": 32, "val/": 200, ".bmp": 1})) == [
        "233 files left out: .bmp (1), .tif (32), val/ (200)"
    ]
    assert said(balanced(left_out={"x\x1b[31m.tif": 1})) == ["1 file left out: x\\x1b[31m.tif (1)"]
    many = {f".{number}": 1 for number in range(9)}
    assert said(balanced(left_out=many)) == ["9 files left out: .0 (1), .1 (1), .2 (1), .3 (1), .4 (1) and 4 more"]


def test_two_of_three_classes_without_a_test_image() -> None:
    labels = balanced().test.labels
    only = replace(balanced(), arrays=balanced().arrays | {"test_labels": np.full_like(labels, 2)})
    assert said(only) == [
        "no test image in 3 of 4 classes: a, b, d",
        "unbalanced test set: 100.0 % of its images are of class c",
    ]
    assert only.train.labels.tolist() == balanced().train.labels.tolist()
    some = replace(balanced(), arrays=balanced().arrays | {"train_labels": np.arange(64) % 3})
    assert said(some) == ["no training image in 1 of 4 classes: d"]


@pytest.mark.parametrize("classes", [100, 1000])
def test_of_many_classes_some_are_named(classes: int) -> None:
    names = tuple(f"{'x' * 50}{number}" for number in range(classes))
    data = replace(balanced(train=classes), classes=names)
    labels = {"train_labels": np.arange(classes), "test_labels": np.arange(1000) % (classes // 2)}
    words = said(replace(data, arrays=data.arrays | labels))
    assert words[0].startswith(f"no test image in {classes // 2} of {classes:,} classes: {'x' * 40}..., ")
    assert words[0].endswith(f" and {classes // 2 - 5} more")


def test_test_images_that_are_training_images() -> None:
    assert said(balanced(duplicates=Duplicates(train=3, test=1, shared=24))) == [
        "24 of the 1,000 test images are also training images",
        "3 training images are copies of others",
        "1 test image is a copy of others",
    ]


@pytest.mark.parametrize(
    ("counts", "share"),
    [
        ([250, 250, 250, 250], None),
        ([300, 250, 200, 250], None),
        ([301, 250, 200, 249], "30.1 % of its images are of class a"),
        ([332, 333, 330, 5], "33.3 % of its images are of class b"),  # the rare class may always be wrong
        ([995, 5, 0, 0], "99.5 % of its images are of class a"),
    ],
)
def test_accuracy_where_the_rare_class_is_always_wrong_is_of_an_unbalanced_set(
    counts: list[int], share: str | None
) -> None:
    labels = {"test_labels": np.repeat(np.arange(4), counts)}
    words = said(replace(balanced(), arrays=balanced().arrays | labels))
    assert [line for line in words if "unbalanced" in line] == ([f"unbalanced test set: {share}"] if share else [])


@pytest.mark.parametrize(("images", "half"), [(40, "14.8"), (380, "5.0"), (400, None)])
def test_a_small_test_set(images: int, half: str | None) -> None:
    words = f"few test images: their draw alone leaves up to ± {half} points open (binomial, 95 %)"
    assert said(balanced(test=images)) == [words] * (half is not None)


def test_a_choice_of_splits() -> None:
    assert said(balanced(choice=Choice(test_split="validation"))) == ["tested on the split validation"]
    assert said(balanced(choice=Choice(split=0.8))) == [
        "split by zoo: 80 % of each class are trained on, the others are test images"
    ]


def test_images_of_several_sizes() -> None:
    assert said(balanced(resized=Resized(3, (20, 30), (480, 640)))) == [
        "images of 3 sizes, 30x20 to 640x480, resized to 8x8"
    ]
    assert said(balanced(resized=Resized(1, (16, 16), (16, 16)))) == []


CIFAR10 = "[{Normalize: {mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616]}}]"


def test_constants_of_another_dataset() -> None:
    # Noise has a mean of 0.5 and a deviation of 0.29.
    (words,) = said(balanced(), f"augment.eval={CIFAR10}")
    assert words.startswith("normalisation constants of another dataset: mean 0.491, 0.482, 0.447 and std 0.247, ")
    assert words.endswith("`Normalize: {from: train}` computes them")
    assert said(balanced(), f"augment.train={CIFAR10}") == [words]
    assert len(said(balanced(), "augment.train=[Normalize: {}]")) == 1  # ImageNet's
    own = balanced().channels
    close = f"{{mean: {[value + 0.001 for value in own.mean]}, std: {list(own.std)}}}"
    assert said(balanced(), f"augment.train=[Normalize: {close}]", f"augment.eval=[Normalize: {close}]") == []
    mean, std = ([255 * value for value in values] for values in (own.mean, own.std))
    levels = f"{{mean: {mean}, std: {std}, max_pixel_value: 1}}"
    assert said(balanced(), f"augment.eval=[Normalize: {levels}]") == []
    assert said(balanced(), FROM_TRAIN) == []
    assert said(balanced(), FROM_TRAIN, "split.train=8") == []
    assert len(said(balanced(), FROM_TRAIN, f"augment.eval={CIFAR10}")) == 1
    assert said(balanced(), "augment.eval=[Normalize: {normalization: image}]") == []


@pytest.mark.parametrize("name", recipe_names())
def test_nothing_is_unusual_about_the_built_in_data_under_recipes_that_suit_it(name: str) -> None:
    root = os.environ.get("ZOO_DATA", "")
    if name != "smoke" and not (Path(root) / "cifar10-jpeg").is_dir():
        pytest.skip("no cifar10-jpeg in ZOO_DATA: no real images to test on")
    data = load("shapes10") if name == "smoke" else load("cifar10-jpeg", root)
    assert data.duplicates == Duplicates(0, 0, 0)
    assert unusual(inputs(load_recipe(name), data)) == []


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
    monkeypatch.setattr("zoo.engine.speed.INFERENCE_BATCHES", (8,))
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
    constants = preparation(run)
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
