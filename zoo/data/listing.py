"""What a reader hands over: a listing of a dataset's images, which are decoded only when they are asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS = ("train", "test")
Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Part:
    """One split. `labels`: (N,) int64, in the order of the rows. `size`: (height, width) of every image.

    `blocks()` decodes the images in that order: arrays (n, height, width, 3) uint8, N images together. It can be called
    again, and keeps no block. Where it resizes images, their own sizes are in `sizes` once they are decoded.
    """

    labels: np.ndarray
    size: Size
    blocks: Callable[[], Iterator[np.ndarray]] = field(repr=False)
    sizes: set[Size] = field(default_factory=set, repr=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, height, width, 3), of all images as one array."""
        return len(self.labels), *self.size, 3

    @property
    def nbytes(self) -> int:
        """Bytes of the split when decoded, labels included."""
        return math.prod(self.shape) + 8 * len(self.labels)


@dataclass(frozen=True)
class Listing:
    """A whole dataset before an image of it is decoded. `left_out` counts files that are not part of it, by suffix."""

    classes: tuple[str, ...]
    splits: dict[str, Part]
    source: str
    left_out: Counter[str] = field(default_factory=Counter)


def in_memory(images: np.ndarray, labels: np.ndarray, size: Size | None = None) -> Part:
    """A split whose images, (N, H, W, 3) uint8, are in memory already; resized to `size` where they have another."""
    height, width = images.shape[1:3]
    if size is None or size == (height, width):
        return Part(labels, (height, width), lambda: iter((images,)))

    def blocks() -> Iterator[np.ndarray]:
        from PIL import Image

        for image in images:
            yield np.asarray(resized(Image.fromarray(image), size))[None]

    return Part(labels, size, blocks, {(height, width)})


def resized(image: Image, size: Size) -> Image:
    """The whole of `image` in another size and shape, by Pillow's bilinear filter, which averages where it shrinks."""
    from PIL.Image import Resampling

    return image.resize((size[1], size[0]), Resampling.BILINEAR)
