"""A dataset as a recipe uses it and the settings compute it: its rows, the shape of its images, the loaders."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import nn

from zoo.builder.construct import build
from zoo.data.augment.executor import Augment, make_augment
from zoo.data.augment.spec import TransformSpec, parse
from zoo.data.datasets import Dataset
from zoo.data.loader import Batching, EvalLoader, TrainLoader
from zoo.data.split import stratified_holdout, stratified_subset
from zoo.data.statistics import channels
from zoo.engine.evaluate import evaluation_batch
from zoo.engine.machine import fresh_compiler
from zoo.errors import Option, RecipeError, out_of_memory
from zoo.recipes.recipe import Recipe
from zoo.registry.entries import Layout
from zoo.registry.model import Model
from zoo.results.dataset_part import Normalization
from zoo.runner.settings import Settings
from zoo.utils.seeding import derive, seed_all

SAMPLE = 4  # images
Shape = tuple[int, int, int]


class Inputs:
    """`recipe`, `dataset` and `settings`, and what follows from the three for every model and seed.

    Made once and used for all runs; nothing is computed before it is asked for, and then once.
    `recipe.precision` is resolved (not ``auto``).
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, settings: Settings) -> None:
        self.recipe, self.dataset, self.settings = recipe, dataset, settings
        self._specs: dict[str, tuple[TransformSpec, ...]] = {}
        self._augments: dict[str, tuple[Augment, Shape]] = {}
        self.only_nchw: set[str] = set()  # names of models that fail in channels-last, which no one asked for

    def replaced(self, recipe: Recipe | None = None, settings: Settings | None = None) -> Inputs:
        """The same data under another recipe, or with other settings."""
        inputs = Inputs(recipe or self.recipe, self.dataset, settings or self.settings)
        inputs.only_nchw = self.only_nchw
        return inputs

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the train split that are trained on, and those held out: by the recipe alone, equal for any seed.

        Raises :class:`RecipeError` when the recipe asks for more images than there are.
        """
        labels, split = self.dataset.train.labels, self.recipe.split
        wanted = split.holdout + (split.train or 1)
        if wanted > len(labels):
            left = len(labels) - split.holdout
            smaller = f"split.train={left}" if split.train and left > 0 else f"split.holdout={len(labels) // 10}"
            raise RecipeError(
                f"recipe {self.recipe.name!r}: split needs {wanted} images, but {self.dataset.name} has {len(labels)} "
                "to train on; give ",
                Option("set", smaller),
            )
        rows, holdout = stratified_holdout(labels, split.holdout, split.seed)
        if split.train is not None:
            rows = rows[stratified_subset(labels[rows], split.train, split.seed)]
        return rows, holdout

    @cached_property
    def normalization(self) -> Normalization | None:
        """What ``Normalize: {from: train}`` stands for; None where the recipe does not have it.

        It is of the rows trained on, before any transform: held-out images choose, so nothing else is learnt from
        them. Raises :class:`RecipeError` where a channel has one value throughout.
        """
        if not self.recipe.augment.computes_normalization:
            return None
        measured = channels(self.dataset.train.images, self.rows[0])
        if min(measured.std) < 1e-6:  # of rounding
            raise RecipeError(
                f"recipe {self.recipe.name!r}: Normalize: from: train: all pixels of a channel have one value in the "
                f"{len(self.rows[0])} images trained on; give `mean` and `std` as numbers"
            )
        return Normalization(mean=measured.mean, std=measured.std)

    @property
    def selection_images(self) -> int:
        """Images by which an epoch is chosen; 0 where the recipe holds none out."""
        return len(self.dataset.test) if self.recipe.selection.split == "test" else len(self.rows[1])

    @property
    def shape(self) -> Shape:
        """(C, H, W) of one image as the model gets it, after the recipe's evaluation transforms."""
        return self.augment("eval")[1]

    @property
    def train_shape(self) -> Shape:
        """The same after its training transforms, which differs only where the recipe asks for that."""
        return self.augment("train")[1]

    def specs(self, name: Literal["train", "eval"]) -> tuple[TransformSpec, ...]:
        """The recipe's transform list `name`, checked, with all numbers. Raises as :meth:`augment` does."""
        if name not in self._specs:
            computed = self.normalization
            steps = self.recipe.augment.steps(name, (computed.mean, computed.std) if computed else None)
            self._specs[name] = parse(steps, f"recipe {self.recipe.name!r}: augment.{name}")
        return self._specs[name]

    def augment(self, name: Literal["train", "eval"]) -> tuple[Augment, Shape]:
        """The recipe's transform list `name`, tried on a few images, and the shape (C, H, W) that it gives them.

        Raises :class:`RecipeError` for a wrong transform or executor, and :class:`zoo.errors.UnknownNameError`.
        """
        if name not in self._augments:
            where, few = f"recipe {self.recipe.name!r}: augment.{name}", slice(SAMPLE)
            specs = self.specs(name)
            images, labels = self.dataset.train.images[few], self.dataset.train.labels[few]
            try:
                augment = make_augment(specs, images.shape[1:3], self.settings.executor)
                batch, _ = next(iter(EvalLoader(images, labels, augment, batch_size=SAMPLE)))
            except Exception as problem:  # whatever a transform makes of its arguments
                line = str(out_of_memory(problem) or " ".join(str(problem).split()) or type(problem).__name__)
                raise RecipeError(f"{where}: {line}") from problem
            _, channels, height, width = batch.shape
            self._augments[name] = augment, (channels, height, width)
        return self._augments[name]

    def build(self, model: Model, seed: int, device: torch.device | None = None) -> nn.Module:
        """`model` on the `device`, by default the settings', with initial weights that depend on it and `seed` alone.

        Raises as :func:`build`.
        """
        fresh_compiler(self.settings.compiled)
        seed_all(derive("init", seed))
        module = build(model, self.dataset.num_classes, image_size=self.shape[1:])
        return module.to(device or self.settings.device)

    def train_loader(self, layout: Layout, seed: int, rows: np.ndarray | None = None) -> TrainLoader:
        """The recipe's batches of the training images, augmented; `rows` of the train split instead of its own."""
        settings = self.settings
        return TrainLoader(
            self.dataset.train.images,
            self.dataset.train.labels,
            self.augment("train")[0],
            Batching(self.recipe.batch_size, seed, settings.distributed, self.recipe.drop_last),
            device=settings.device,
            workers=settings.workers,
            indices=self.rows[0] if rows is None else rows,
            channels_last=layout == "channels_last",
        )

    def eval_loader(self, layout: Layout, split: str) -> EvalLoader:
        """The images of "train" (as many as the test set has), "holdout" or "test", in order, not augmented."""
        part, (train_rows, rows) = self.dataset.train, self.rows
        if split == "train":
            count = min(len(self.dataset.test), len(train_rows))
            rows = train_rows[stratified_subset(part.labels[train_rows], count, self.recipe.split.seed)]
        part = self.dataset.test if split == "test" else part
        return EvalLoader(
            part.images,
            part.labels,
            self.augment("eval")[0],
            batch_size=evaluation_batch(self.settings.device),
            device=self.settings.device,
            indices=None if split == "test" else rows,
            channels_last=layout == "channels_last",
        )

    def layout(self, model: Model) -> Layout:
        """The memory layout for `model`: the settings', what the registry asks for, NCHW where channels-last fails."""
        return self.settings.layout or ("nchw" if model.name in self.only_nchw else model.layout)
