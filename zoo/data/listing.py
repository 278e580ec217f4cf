"""What a reader hands over: a listing of a dataset's images, which are decoded only when they are asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

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
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def nbytes(self) -> int:
        """Bytes of all images and labels when decoded."""
        return sum(part.nbytes for part in self.splits.values())


def in_words(size: Size) -> str:
    """Width first, as people say it."""
    return f"{size[1]}x{size[0]}"


def in_memory(images: np.ndarray, labels: np.ndarray) -> Part:
    """A split whose images, (N, H, W, 3) uint8, are in memory already."""
    height, width = images.shape[1:3]
    return Part(labels, (height, width), lambda: iter((images,)))


def to_size(part: Part, size: Size) -> Part:
    """`part` with its images resized to `size`."""
    if part.size == size:
        return part

    def blocks() -> Iterator[np.ndarray]:
        for block in part.blocks():
            yield from (resized(image, size)[None] for image in block)

    return Part(part.labels, size, blocks, {part.size})


def resized(image: np.ndarray, size: Size) -> np.ndarray:
    """The whole of (H, W, 3) uint8 in another size and shape, by Pillow's bilinear filter, antialiased."""
    from PIL.Image import Resampling, fromarray

    return np.asarray(fromarray(image).resize((size[1], size[0]), Resampling.BILINEAR))
