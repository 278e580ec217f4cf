"""A recipe, images and a reporter for trainings of a second, which tests of several folders use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.engine.checkpoint import Identity
from zoo.engine.reporter import Reporter
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.results.schema import SettingsPart

CPU = torch.device("cpu")
TRAIN, HOLDOUT, TEST, CLASSES = 64, 16, 20, 4
NORMALIZE = "Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}"
BASE = (
    f"split={{holdout: {HOLDOUT}, seed: 0}}",
    f"augment={{train: [HorizontalFlip: {{p: 0.5}}, {NORMALIZE}], eval: [{NORMALIZE}]}}",
    "batch_size=16",
    "drop_last=false",
    "precision=fp32",
    "epochs=3",
    "schedule={name: cosine, warmup_epochs: 1, final_factor: 0}",
    "optimizer.lr=0.1",
)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (TRAIN, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(TRAIN) % CLASSES
TEST_IMAGES = RANDOM.integers(0, 256, (TEST, 8, 8, 3), dtype=np.uint8)
TEST_LABELS = np.arange(TEST) % CLASSES
# Of a training without a run around it.
SETTINGS = SettingsPart(device="cpu", layout="nchw", compiled=False, executor="batched", workers=0, deterministic=False)
IDENTITY = Identity(run={"recipe": "x"}, settings=SETTINGS)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("standard", [*BASE, *overrides])


class Silent(Reporter):
    """A reporter that says nothing; `at_epoch` is called after each epoch."""

    def __init__(self, at_epoch: Any = None) -> None:
        self.at_epoch = at_epoch
        self.saved: list[tuple[int, float | None, bool]] = []

    def epoch(self, row: Any, epochs: int, rose_from: float | None, saved: bool) -> None:
        self.saved.append((row.epoch, rose_from, saved))
        if self.at_epoch:
            self.at_epoch(row.epoch)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
