"""The reference executor: albumentations itself, one image at a time, with every random number from a key."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from zoo.data.augment.spec import TransformSpec, build
from zoo.utils.seeding import derive

_PHILOX_ZERO = np.zeros(4, dtype=np.uint64)


class ReferenceAugment:
    """Runs a transform list (from :func:`zoo.data.augment.spec.parse`) on single images.

    Two generators, Python's and NumPy's, are shared by all transforms and set anew from (seed, epoch, position) before
    each image: nothing depends on which images came before, or in which process. Global random state is not touched.
    The object pickles as its list.
    """

    executor: Final = "albumentations"

    def __init__(self, specs: Sequence[TransformSpec]):
        self.specs = tuple(specs)
        self.transforms = [build(spec) for spec in self.specs]
        self.placed = [transform for transform in self.transforms if hasattr(transform, "place")]
        self._philox = np.random.Philox(key=0)
        self._numpy = np.random.Generator(self._philox)
        self._python = random.Random(0)
        for transform in self.transforms:
            transform.set_random_state(self._numpy, self._python)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReferenceAugment, (self.specs,)

    def __call__(self, image: np.ndarray, seed: int, epoch: int, position: int, row: int | None = None) -> np.ndarray:
        """(H, W, 3) uint8 to (3, H', W') float32, C-contiguous. The input is not changed.

        `row`: which training image it is, for transforms that keep to an image over epochs; its position when None.
        Without a Normalize in the list the result keeps the scale 0..255.
        """
        self._reseed(derive("reference", seed, epoch, position))
        for transform in self.placed:
            transform.place(seed, epoch, position if row is None else row)
        image = np.array(image)  # a plain, writable copy, whatever the source (read-only memory maps)
        for transform in self.transforms:  # what Compose does, without its checks of shapes, boxes and keypoints
            image = transform(image=image)["image"]
        return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)

    def _reseed(self, key: int) -> None:
        self._python.seed(key)
        self._philox.state = {  # a new key is a new stream; a new generator would cost more
            "bit_generator": "Philox",
            "state": {"counter": _PHILOX_ZERO, "key": np.array([key, 0], dtype=np.uint64)},
            "buffer": _PHILOX_ZERO,
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
