"""Transforms that albumentations does not have, as albumentations classes, so that a recipe names them as any other.

albumentations takes 0.6 s to import: only functions here import it, and the classes are made when first asked for.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from zoo.data.augment.flips import alternating_flips


@cache
def albumentations() -> ModuleType:
    """The albumentations module, imported on the first call with its version check switched off: nothing calls home."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # read while it is imported, so it has to come first
    import albumentations

    return albumentations


@cache
def classes() -> dict[str, type]:
    """Name to class."""
    module = albumentations()
    from albumentations.core.transforms_interface import BaseTransformInitSchema
    from pydantic import Field

    class Cutout(module.ImageOnlyTransform):
        """Square (or rectangular) holes whose centres are uniform over the image, clipped at the border.

        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017, with the
        argument names of albumentations 1. A centre is a whole pixel; the hole covers ``max_h_size`` rows from
        ``centre - max_h_size // 2``, and the same for columns, so near a border it is smaller. On a uint8 image
        `fill_value` is cut to whole grey levels (0.491 becomes 0); on a float image it is used as it is.

        Args:
            num_holes: holes per image, at least 1.
            max_h_size, max_w_size: height and width of a hole in pixels, at least 1.
            fill_value: one number or one per channel, on the image's own scale (0..255 for uint8).
            p: probability of applying it.
        """

        class InitSchema(BaseTransformInitSchema):
            num_holes: int = Field(ge=1)
            max_h_size: int = Field(ge=1)
            max_w_size: int = Field(ge=1)
            fill_value: tuple[float, ...] | float

        def __init__(
            self,
            num_holes: int = 8,
            max_h_size: int = 8,
            max_w_size: int = 8,
            fill_value: tuple[float, ...] | float = 0,
            p: float = 0.5,
        ):
            super().__init__(p=p)
            self.num_holes = num_holes
            self.max_h_size = max_h_size
            self.max_w_size = max_w_size
            self.fill_value = fill_value

        def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
            height, width = params["shape"][:2]
            holes = []
            for _ in range(self.num_holes):
                top = int(self.py_random.random() * height) - self.max_h_size // 2
                left = int(self.py_random.random() * width) - self.max_w_size // 2
                bottom, right = min(top + self.max_h_size, height), min(left + self.max_w_size, width)
                holes.append((max(left, 0), max(top, 0), right, bottom))
            return {"holes": np.array(holes, dtype=np.int64)}  # (num_holes, 4): x_min, y_min, x_max, y_max

        def apply(self, img: Any, holes: Any, **params: Any) -> Any:
            img = img.copy()
            fill = np.asarray(self.fill_value, dtype=np.float32)
            fill = fill.astype(img.dtype)
            for x_min, y_min, x_max, y_max in holes:
                img[y_min:y_max, x_min:x_max] = fill
            return img

    class AlternatingFlip(module.ImageOnlyTransform):
        """Mirrors every training image in each second epoch: a fair coin of its own in the first, the other way next.

        Two epochs show both sides of every image, where independent coins show one side twice for half of them.
        Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498. Which way an image stands
        depends on (seed, epoch, image), so an executor says with :meth:`place` which image comes next.
        """

        def __init__(self) -> None:
            super().__init__(p=1.0)
            self.flip = False

        def place(self, seed: int, epoch: int, row: int) -> None:
            """The next image is number `row` of the training images."""
            self.flip = bool(alternating_flips(seed, epoch, np.array([row]))[0])

        def apply(self, img: Any, **params: Any) -> Any:
            return np.ascontiguousarray(img[:, ::-1]) if self.flip else img

    found = {cls.__name__: cls for cls in (Cutout, AlternatingFlip)}
    for name, cls in found.items():  # where pickle looks for them
        cls.__module__, cls.__qualname__ = __name__, name
    return found


def __getattr__(name: str) -> Any:
    if name in ("Cutout", "AlternatingFlip"):
        return classes()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
