"""What every recipe has to do before a training can begin."""

from __future__ import annotations

import numpy as np

from zoo.data.augment.reference import ReferenceAugment
from zoo.data.augment.spec import parse
from zoo.data.statistics import channels
from zoo.recipes.load import load_recipe
from zoo.testing import suite


def check_recipe(recipe: str, *, image_size: int = 32) -> None:
    """Hold a recipe to what zoo expects: it is valid as a whole, and its transforms give images of one size.

    `recipe` is a name (built in or of an installed package) or the path of a file; `image_size` in pixels a side.

    Raises :class:`ConformanceError` with a line for each check that failed.
    """
    checks = [("recipe", lambda: _described(recipe)), ("transforms", lambda: _transforms(recipe, image_size))]
    suite.run(f"recipe {recipe!r}", checks)


def _described(recipe: str) -> None:
    description = load_recipe(recipe).description
    if not description.strip() or "\n" in description.strip():
        raise AssertionError(f"description: expected one line of text, found {description!r}")


def _transforms(recipe: str, image_size: int) -> None:
    loaded = load_recipe(recipe)
    g = np.random.default_rng(0)
    images = g.integers(0, 256, (8, image_size, image_size, 3), dtype=np.uint8)
    measured = channels(images)
    for which in ("train", "eval"):
        steps = loaded.augment.steps(which, (measured.mean, measured.std))
        augment = ReferenceAugment(parse(steps, f"recipe {recipe}, augment.{which}"))
        augmented = [augment(image, seed=0, epoch=0, position=position) for position, image in enumerate(images)]
        if not all(np.isfinite(image).all() for image in augmented):
            raise AssertionError(f"augment.{which} gives values that are not finite")
        if len(shapes := {image.shape for image in augmented}) > 1:
            raise AssertionError(f"augment.{which} gives images of several sizes: {sorted(shapes)}")
