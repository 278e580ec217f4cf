"""A data set as a recipe uses it: which rows are trained on and held out, and the loaders over them."""

from __future__ import annotations

import numpy as np

from zoo.data.datasets import Dataset
from zoo.data.loader import Batching, EvalLoader, TrainLoader
from zoo.data.split import stratified_holdout, stratified_subset
from zoo.engine.evaluate import EVAL_BATCH
from zoo.errors import RecipeError
from zoo.recipes.recipe import Recipe
from zoo.runner.settings import Settings


def train_loader(
    recipe: Recipe, dataset: Dataset, settings: Settings, layout: str, *, seed: int, rows: np.ndarray
) -> TrainLoader:
    """The recipe's batches of the training images `rows`, augmented."""
    return TrainLoader(
        dataset.train.images,
        dataset.train.labels,
        recipe.augment.train,
        Batching(recipe.batch_size, seed, settings.distributed, recipe.drop_last),
        workers=settings.workers,
        indices=rows,
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
