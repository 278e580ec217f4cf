"""A data set as a recipe uses it: which rows are trained on and held out, and the loaders over them."""

from __future__ import annotations

import numpy as np

from zoo.data.augment.spec import parse
from zoo.data.datasets import Dataset
from zoo.data.loader import EvalLoader, TrainLoader
from zoo.data.split import stratified_holdout, stratified_subset
from zoo.errors import RecipeError
from zoo.recipes.recipe import Recipe
from zoo.registry.model import Pretrained
from zoo.results.folder import FILE, load_result
from zoo.runner.settings import Settings
from zoo.utils.distributed import check_batches

EVAL_BATCH = {"cpu": 256, "cuda": 2048}


def train_loader(
    recipe: Recipe, dataset: Dataset, settings: Settings, layout: str, *, seed: int, rows: np.ndarray
) -> TrainLoader:
    """The recipe's batches of the training images `rows`, augmented."""
    return TrainLoader(
        dataset.train.images,
        dataset.train.labels,
        recipe.augment.train,
        batch_size=recipe.batch_size,
        seed=seed,
        workers=settings.workers,
        drop_last=recipe.drop_last,
        indices=rows,
        world=settings.world,
        **_common(settings, layout),
    )


def eval_loader(recipe: Recipe, dataset: Dataset, settings: Settings, layout: str, split: str) -> EvalLoader:
    """The images of "train" (as many as the test set has), "holdout" or "test", in order, not augmented."""
    part, rows = dataset.test if split == "test" else dataset.train, None
    if split != "test":
        train_rows, rows = split_rows(recipe, dataset)
    if split == "train":
        count = min(len(dataset.test), len(train_rows))
        rows = train_rows[stratified_subset(part.labels[train_rows], count, recipe.split.seed)]
    batch = EVAL_BATCH[settings.device.type]
    return EvalLoader(
        part.images, part.labels, recipe.augment.eval, batch_size=batch, indices=rows, **_common(settings, layout)
    )


def _common(settings: Settings, layout: str) -> dict[str, object]:
    return {
        "device": settings.device, "executor": settings.executor, "channels_last": layout == "channels_last",
    }  # fmt: skip


def input_shape(recipe: Recipe, dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of one image as the model gets it, after the recipe's evaluation transforms."""
    first = dataset.train
    images, _ = next(iter(EvalLoader(first.images[:1], first.labels[:1], recipe.augment.eval, batch_size=1)))
    return tuple(images.shape[1:])


def check_data(recipe: Recipe, dataset: Dataset, settings: Settings) -> None:
    """Put a few images through both transform lists and count the images against the recipe.

    Raises :class:`RecipeError` for a wrong split, batch size, transform or executor, naming the list at fault.
    """
    rows, _ = split_rows(recipe, dataset)
    if recipe.drop_last and recipe.batch_size > len(rows):
        raise RecipeError(
            f"recipe {recipe.name!r}: batch_size {recipe.batch_size} is more than the {len(rows)} training images; "
            f"lower it, as in --set batch_size={max(1, len(rows) // 10)}"
        )
    check_batches(len(rows), recipe.batch_size, recipe.drop_last, settings.world)
    images, labels = dataset.train.images[:4], dataset.train.labels[:4]
    for name in ("train", "eval"):
        transforms = parse(getattr(recipe.augment, name), f"recipe {recipe.name!r}: augment.{name}")
        try:
            made, _ = next(iter(EvalLoader(images, labels, transforms, batch_size=4, executor=settings.executor)))
        except Exception as problem:  # whatever a transform makes of its arguments
            line = " ".join(str(problem).split()) or type(problem).__name__
            raise RecipeError(f"recipe {recipe.name!r}: augment.{name}: {line}") from problem
    height, width = made.shape[2:]
    if recipe.views.shift >= min(height, width):
        raise RecipeError(
            f"recipe {recipe.name!r}: shifted_evaluation: {recipe.views.shift} pixels are too many for images of "
            f"{width}x{height}; --set shifted_evaluation=null switches it off"
        )


def check_weights(pretrained: Pretrained, recipe: Recipe, dataset: Dataset) -> None:
    """Raise :class:`RecipeError` where the weights that a model starts from would leak: those of a run on the images of
    `dataset` that its test images chose, or that was trained on images by which `recipe` chooses.

    A run is known by the ``result.json`` beside its weights.
    """
    stored = pretrained.path.with_name(FILE) if pretrained.path else None
    if stored is None or not stored.is_file():
        return
    result = load_result(stored)
    if result.dataset.fingerprint != dataset.fingerprint:
        return
    if result.selection.split == "test":
        raise RecipeError(
            f"--pretrained {pretrained.path}: the test images of {dataset.name} chose these weights, and would choose "
            "whatever starts from them; give a run under a recipe that chooses by held-out images"
        )
    by_images = recipe.selection.rule == "best" or recipe.schedule.name == "plateau"
    chooses = recipe.selection.split == "holdout" and by_images
    then, now = result.recipe.content["split"], recipe.split
    if chooses and now.holdout and (then["holdout"], then["seed"]) != (now.holdout, now.seed):
        raise RecipeError(
            f"--pretrained {pretrained.path}: trained on images that recipe {recipe.name!r} holds out to choose by; "
            f"hold out what that run did (split.holdout={then['holdout']}, split.seed={then['seed']}) or take the last "
            "epoch: --set selection.rule=last"
        )


def split_rows(recipe: Recipe, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the train split that are trained on, and those held out: by the recipe alone, equal for every seed.

    Raises :class:`RecipeError` when the recipe asks for more images than there are.
    """
    labels, wanted = dataset.train.labels, recipe.split.holdout + (recipe.split.train or 1)
    if wanted > len(labels):
        raise RecipeError(
            f"recipe {recipe.name!r}: split asks for {wanted} images but {dataset.name} has {len(labels)} to train on; "
            "lower split.holdout or split.train with --set"
        )
    rows, holdout = stratified_holdout(labels, recipe.split.holdout, recipe.split.seed)
    if recipe.split.train is not None:
        rows = rows[stratified_subset(labels[rows], recipe.split.train, recipe.split.seed)]
    return rows, holdout
