"""Mean and standard deviation of each channel, and how much they vary from image to image; added up block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PIXELS = 1 << 20  # at once: bounds the memory


@dataclass(frozen=True)
class Channels:
    """Of the channels R, G, B, as values from 0 to 1. `mean` and `std` are exact: over all pixels of all images.

    `mean_error` and `std_error`: the standard error that one image of such a kind would leave in them; that of N images
    is smaller by the square root of N.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    mean_error: tuple[float, ...]
    std_error: tuple[float, ...]


class Sums:
    """Adds images up as they pass; :meth:`channels` is of all that were added."""

    def __init__(self) -> None:
        self.images = self.pixels = 0
        self._levels = np.zeros(3, dtype=np.int64)
        self._squares = np.zeros(3, dtype=np.int64)
        self._moments = np.zeros((5, 3))  # over images: a, b, aa, bb, ab; a is an image's mean, b that of its squares

    def add(self, images: np.ndarray) -> None:
        """Add (N, H, W, 3) uint8."""
        side = images.shape[1] * images.shape[2]
        step = max(1, PIXELS // side)
        for start in range(0, len(images), step):
            pixels = images[start : start + step].reshape(-1, side, 3).astype(np.int64)
            levels, squares = pixels.sum(1), np.einsum("npc,npc->nc", pixels, pixels)
            self._levels += levels.sum(0)
            self._squares += squares.sum(0)
            a, b = levels / (255 * side), squares / (255**2 * side)
            self._moments += np.stack([moment.sum(0) for moment in (a, b, a * a, b * b, a * b)])
            self.images += len(pixels)
            self.pixels += len(pixels) * side

    def channels(self) -> Channels:
        """The statistics of what was added, at least one image."""
        count, rows = self.pixels, []
        moments = self._moments / self.images
        for level, square, (a, b, aa, bb, ab) in zip(
            self._levels.tolist(), self._squares.tolist(), moments.T.tolist(), strict=True
        ):
            mean, std = level / (255 * count), math.sqrt(count * square - level**2) / (255 * count)
            # An image moves the mean by a, and the variance by b - 2 * mean * a.
            spread = bb - b * b + 4 * mean * (mean * (aa - a * a) - (ab - a * b))
            rows.append(
                (mean, std, math.sqrt(max(aa - a * a, 0)), math.sqrt(max(spread, 0)) / (2 * std) if std else 0.0)
            )
        return Channels(*zip(*rows, strict=True))


def channels(images: np.ndarray, rows: np.ndarray | None = None) -> Channels:
    """The statistics of (N, H, W, 3) uint8 `images`, a memory map will do, or of their `rows`."""
    sums, step = Sums(), max(1, PIXELS // (images.shape[1] * images.shape[2]))
    where = np.arange(len(images)) if rows is None else rows
    for start in range(0, len(where), step):
        sums.add(images[where[start : start + step]])
    return sums.channels()
