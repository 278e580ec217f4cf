"""Transforms that albumentations does not have, as albumentations classes, so that a recipe names them as any other.

albumentations takes 0.6 s to import, so this module is imported only when a transform list is built.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from pydantic import Field

from zoo.data.augment.flips import alternating_flips

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # read by the next import, which would look for updates otherwise

import albumentations
from albumentations.core.transforms_interface import BaseTransformInitSchema


class Cutout(albumentations.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
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

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]  # the same
        """What albumentations checks of the arguments."""

        num_holes: int = Field(ge=1)
        max_h_size: int = Field(ge=1)
        max_w_size: int = Field(ge=1)
        fill_value: tuple[float, ...] | float

    def __init__(
        self, num_holes: int = 8, max_h_size: int = 8, max_w_size: int = 8, fill_value: tuple[float, ...] | float = 0,
        p: float = 0.5,
    ):  # fmt: skip
        super().__init__(p=p)
        self.num_holes, self.max_h_size, self.max_w_size = num_holes, max_h_size, max_w_size
        self.fill_value = fill_value

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """``holes``: (num_holes, 4) int64, x_min, y_min, x_max, y_max."""
        height, width = params["shape"][:2]
        holes = []
        for _ in range(self.num_holes):
            top = int(self.py_random.random() * height) - self.max_h_size // 2
            left = int(self.py_random.random() * width) - self.max_w_size // 2
            bottom, right = min(top + self.max_h_size, height), min(left + self.max_w_size, width)
            holes.append((max(left, 0), max(top, 0), right, bottom))
        return {"holes": np.array(holes, dtype=np.int64)}

    def apply(self, img: np.ndarray, holes: np.ndarray, **params: Any) -> np.ndarray:
        """A copy of `img`, (H, W, C), with its `holes` filled."""
        img = img.copy()
        fill = np.asarray(self.fill_value, dtype=np.float32).astype(img.dtype)
        for x_min, y_min, x_max, y_max in holes:
            img[y_min:y_max, x_min:x_max] = fill
        return img


class AlternatingFlip(albumentations.ImageOnlyTransform):  # type: ignore[misc]  # the same
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

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """`img`, (H, W, C), or its mirror image."""
        return np.ascontiguousarray(img[:, ::-1]) if self.flip else img


def _is_transform(cls: object) -> bool:
    if not (isinstance(cls, type) and issubclass(cls, albumentations.BasicTransform)):
        return False
    return "apply" in dir(cls) and cls.__name__[0] != "_"


CUSTOM: dict[str, type] = {"Cutout": Cutout, "AlternatingFlip": AlternatingFlip}
TRANSFORMS: dict[str, type] = {name: cls for name, cls in vars(albumentations).items() if _is_transform(cls)} | CUSTOM
