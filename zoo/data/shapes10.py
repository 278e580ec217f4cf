"""``shapes10``: a generated dataset of 32x32 RGB pictures of ten shapes, the same bytes on every machine.

Only integer arithmetic and the raw 64-bit output of NumPy's Philox generator are used: the former is exact everywhere,
the latter is the one stream that NumPy promises never to change. Colour, place, size, turn, background and contrast are
independent of the class, so only the form tells the classes apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from zoo.data.listing import Listing, Part, in_memory
from zoo.utils.seeding import derive

CLASSES = ("circle", "ring", "crescent", "semicircle", "square", "frame", "triangle", "cross", "star", "bars")
SIZE = 32  # pixels
TRAIN, TEST = 5_000, 1_000
Ints = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
UNIT = 1024  # local coordinate of the rim of a shape
_CHUNK = 250  # images drawn at once: keeps the working arrays in the processor's cache

# 256 directions, scaled by 4096 and rounded: an error in the last bit of cos cannot survive the rounding.
_COS = np.array([round(4096 * math.cos(2 * math.pi * k / 256)) for k in range(256)], dtype=np.int32)
_SIN = np.array([round(4096 * math.sin(2 * math.pi * k / 256)) for k in range(256)], dtype=np.int32)


def generate(train: int = TRAIN, test: int = TEST) -> Listing:
    """The dataset: `train` and `test` images, (N, 32, 32, 3) uint8, classes balanced and in random order."""
    return Listing(CLASSES, {"train": _split("train", train), "test": _split("test", test)})


class _Dice:
    """Random integers from one Philox stream."""

    def __init__(self, *purpose: str | int) -> None:
        self._bits = np.random.Philox(key=derive("shapes10", *purpose))

    def between(self, low: int, high: int, *shape: int) -> Ints:
        """int32 in low..high, both included."""
        raw = self._bits.random_raw(math.prod(shape)).reshape(shape)
        return ((raw >> np.uint64(40)) % np.uint64(high - low + 1)).astype(np.int32) + np.int32(low)

    def bytes(self, *shape: int) -> npt.NDArray[np.int16]:
        """int16 in 0..255."""
        count = math.prod(shape)
        raw = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return raw.view(np.uint8)[:count].reshape(shape).astype(np.int16)

    def order(self, count: int) -> np.ndarray:
        return np.argsort(self._bits.random_raw(count), kind="stable")


def _split(split: str, count: int) -> Part:
    labels = (np.arange(count, dtype=np.int64) % len(CLASSES))[_Dice(split, "order").order(count)]
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        images[part] = _draw(_Dice(split, start), labels[part])
    return in_memory(images, labels)


def _draw(dice: _Dice, labels: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) uint8 for N labels."""
    n = len(labels)
    cover = _coverage(dice, labels)[..., None]  # 0..4
    back = _cloud(dice, n, 40) + dice.between(20, 150, n, 1, 1, 3)
    # Always lighter, upright to within 30 degrees and near the middle: with a sign drawn per channel, any turn and any
    # place, a small ResNet with BatchNorm was at 25 % after eight epochs. So it is at 87 % after two (LayerNorm: 42 %).
    step = dice.between(45, 125, n, 1, 1, 3)
    front = back + step + _cloud(dice, n, 24)
    pixels: Ints = (back * (4 - cover) + front * cover) >> 2
    contrast = dice.between(160, 288, n, 1, 1, 1)  # 256 is 1
    brightness = dice.between(-24, 24, n, 1, 1, 1)
    pixels = ((pixels - 128) * contrast >> 8) + 128 + brightness
    noise = dice.bytes(n, SIZE, SIZE, 3) + dice.bytes(n, SIZE, SIZE, 3) - 255  # triangular, -255..255
    pixels += noise * dice.between(8, 48, n, 1, 1, 1) >> 8
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _cloud(dice: _Dice, n: int, depth: int) -> Ints:
    """A smooth random texture, (n, 32, 32, 3) int32 in -depth..depth: 5x5 random values, joined by straight lines."""
    grid = dice.between(-depth, depth, n, 5, 5, 3)
    at, part = np.divmod(np.arange(SIZE, dtype=np.int32), 8)
    part = part[:, None]
    rows = grid[:, at] * (8 - part[..., None]) + grid[:, at + 1] * part[..., None]
    texture: Ints = (rows[:, :, at] * (8 - part) + rows[:, :, at + 1] * part) >> 6
    return texture


def _coverage(dice: _Dice, labels: np.ndarray) -> Ints:
    """How many of each pixel's 2x2 sample points are inside the shape: (N, 32, 32) int32 in 0..4.

    Lengths are in quarters of a pixel until they become local coordinates, where the rim of a shape is at 1024.
    """
    n = len(labels)
    turn = dice.between(-21, 21, n)  # up to 30 degrees either way; a circle has 256 steps
    radius = dice.between(34, 54, n)  # 8.5 to 13.5 pixels
    other = radius * dice.between(208, 256, n) >> 8  # the second axis, up to a fifth shorter
    centre = dice.between(54, 74, n, 2)  # 13.5 to 18.5 pixels
    points = 2 * np.arange(2 * SIZE, dtype=np.int32) + 1
    dx = points[None, None, :] - centre[:, 0, None, None]
    dy = points[None, :, None] - centre[:, 1, None, None]

    def axis(along_x: Ints, along_y: Ints, length: Ints) -> Ints:
        a, b = ((along * UNIT // length)[:, None, None] for along in (along_x, along_y))
        return (a * dx + b * dy) >> 12

    u = axis(_COS[turn], _SIN[turn], radius)
    v = axis(-_SIN[turn], _COS[turn], other)
    inside = np.empty(u.shape, dtype=bool)
    for label, form in enumerate(_FORMS):
        mine = np.flatnonzero(labels == label)
        inside[mine] = form(np.clip(u[mine], -8192, 8191), np.clip(v[mine], -8192, 8191))
    cover: Ints = inside.reshape(n, SIZE, 2, SIZE, 2).sum(axis=(2, 4), dtype=np.int32)
    return cover


def _disc(u: Ints, v: Ints, radius: int = UNIT) -> Mask:
    return u * u + v * v < radius * radius


def _box(u: Ints, v: Ints, half: int) -> Mask:
    return np.maximum(np.abs(u), np.abs(v)) < half


def _violated(u: Ints, v: Ints, corners: int, distance: int) -> npt.NDArray[np.int8]:
    """How many of `corners` half-planes at `distance` from the centre, evenly turned, a point lies outside of."""
    count = np.zeros(u.shape, dtype=np.int8)
    for k in range(corners):
        x, y = (round(UNIT * f(2 * math.pi * k / corners)) for f in (math.cos, math.sin))
        count += x * u + y * v > distance * UNIT
    return count


_FORMS: tuple[Callable[[Ints, Ints], Mask], ...] = (
    lambda u, v: _disc(u, v, 960),
    lambda u, v: _disc(u, v) & ~_disc(u, v, 590),
    lambda u, v: _disc(u, v) & ~_disc(u - 430, v, 860),
    lambda u, v: _disc(u + 420, v, 1100) & (u > -420),
    lambda u, v: _box(u, v, 830),
    lambda u, v: _box(u, v, 870) & ~_box(u, v, 500),
    lambda u, v: _violated(u, v, 3, 560) == 0,
    lambda u, v: _box(u, v, 1000) & (np.minimum(np.abs(u), np.abs(v)) < 310),
    lambda u, v: _violated(u, v, 5, 380) <= 1,  # a pentagram: outside of at most one of its five lines
    lambda u, v: _box(u, v, 920) & (np.abs(u) > 330),
)
