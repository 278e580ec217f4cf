"""What batched transforms share, and those that only move or paint pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.augment.flips import alternating_flips
from zoo.utils.seeding import derive

Params = dict[str, Tensor]
"""Column name to a tensor with one row per position: int64, bool, or float32 for angles."""

CONSTANT, REPLICATE, REFLECT, REFLECT_101 = 0, 1, 2, 4  # OpenCV's border numbers


class Draw:
    """Random columns of one transform for one epoch: every column is its own Philox stream."""

    def __init__(self, seed: int, epoch: int, index: int, rows: np.ndarray):
        self.key, self.count = ("batched", seed, epoch, index), len(rows)
        self.seed, self.epoch, self.rows = seed, epoch, rows

    def uniform(self, name: str, width: int = 1) -> np.ndarray:
        """(count, width) float64 in [0, 1); row p does not depend on `count`."""
        stream = np.random.Generator(np.random.Philox(key=derive(*self.key, name)))
        return stream.random((self.count, width))

    def below(self, name: str, bound: int | np.ndarray, width: int = 1) -> np.ndarray:
        """(count, width) int64, uniform over 0 .. bound - 1."""
        return (self.uniform(name, width) * bound).astype(np.int64)

    def chance(self, p: float) -> np.ndarray:
        """(count, 1) bool, true with probability `p`."""
        return self.uniform("apply") < p


@dataclass
class Plan:
    """What a run of index-only transforms has come to: source row and column of each output row and column.

    `rows` is (1 or B, H), `cols` (1 or B, W), both int64; `paint` lists (row mask, column mask, packed colour).
    """

    rows: Tensor
    cols: Tensor
    paint: list[tuple[Tensor, Tensor, int]]

    def reindex(self, axis: str, index: Tensor) -> None:
        """Replaces an axis by ``axis[index]``, in the masks painted so far too; `index` is (1 or B, new size)."""
        setattr(self, axis, _pick(getattr(self, axis), index))
        self.paint = [
            (_pick(rows, index), cols, colour) if axis == "rows" else (rows, _pick(cols, index), colour)
            for rows, cols, colour in self.paint
        ]


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Per-row ``values[index]`` where either may have a single row for the whole batch."""
    if values.shape[0] == 1:
        return values[0][index]
    return values.gather(1, index.expand(values.shape[0], -1))


def _packed_colour(value: Any) -> int:
    """A fill value cut to whole grey levels, as albumentations does on uint8, packed as one int32 (R lowest)."""
    levels = np.broadcast_to(np.asarray(value, dtype=np.float32), 3).astype(np.uint8)
    return int(np.array([*levels, 0], dtype=np.uint8).view("<i4")[0])


class Op:
    """One transform. `size` is the (height, width) that it receives, `out` what it returns."""

    index_only = True

    def __init__(self, transform: Any, size: tuple[int, int]):
        self.transform, self.size, self.out = transform, size, size

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Why this configuration has no batched form; empty where it has one."""
        return ""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """The random numbers of the images in `draw`, by name: arrays whose first axis is the image."""
        return {}

    def plan(self, plan: Plan, columns: Params) -> None:
        """Index-only transforms: change the plan."""

    def filter(self, planes: Tensor, columns: Params) -> Tensor:
        """Others: (B, 3, H, W) float32 on 0..255 to (B, 3, H', W') float32, not yet rounded."""
        raise NotImplementedError


class Pad(Op):
    """Borders by index, or filled with a colour, with the image in the middle, at a corner or anywhere."""

    def __init__(self, transform: Any, size: tuple[int, int]):
        super().__init__(transform, size)
        height = _padded(size[0], transform.min_height, transform.pad_height_divisor)
        self.out = (height, _padded(size[1], transform.min_width, transform.pad_width_divisor))

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Batched are one output size for all images, borders that torch can index, a colour as fill."""
        if transform.p < 1:
            return "p below 1 would give images of two sizes"
        if transform.border_mode not in (CONSTANT, REPLICATE, REFLECT, REFLECT_101):
            return f"border_mode {transform.border_mode}"
        out = Pad(transform, size).out
        most = {REFLECT: 1, REFLECT_101: 0}.get(transform.border_mode)
        if most is not None and any(new - old >= old + most for new, old in zip(out, size, strict=True)):
            return "a reflected border wider than the image"
        return ""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """``top`` and ``left``: where the image begins, at random positions only."""
        if self.transform.position != "random":
            return {}
        spare = [new - old + 1 for old, new in zip(self.size, self.out, strict=True)]
        return {"top": draw.below("top", spare[0])[:, 0], "left": draw.below("left", spare[1])[:, 0]}

    def plan(self, plan: Plan, columns: Params) -> None:
        """Shift the indices; what lies outside is filled or mirrored."""
        outside = []
        offsets = self._offsets(columns)
        for axis, size, new_size, offset in zip(("rows", "cols"), self.size, self.out, offsets, strict=True):
            index = torch.arange(new_size, device=plan.rows.device)[None] - offset  # (1 or B, new size)
            outside.append((index < 0) | (index >= size))
            if self.transform.border_mode == REFLECT_101:
                index = (size - 1) - ((size - 1) - index.abs()).abs()
            elif self.transform.border_mode == REFLECT:
                index = torch.where(index < 0, -1 - index, index)
                index = torch.where(index >= size, 2 * size - 1 - index, index)
            else:
                index = index.clamp_(0, size - 1)
            plan.reindex(axis, index)
        if self.transform.border_mode == CONSTANT:
            everywhere = torch.ones(1, 1, dtype=torch.bool, device=plan.rows.device)
            # OpenCV rounds a border's colour, NumPy cuts a hole's.
            colour = _packed_colour(np.rint(self.transform.fill))
            rows, cols = outside
            plan.paint.append((rows, everywhere.expand(1, self.out[1]), colour))
            plan.paint.append((everywhere.expand(1, self.out[0]), cols, colour))

    def _offsets(self, columns: Params) -> tuple[Tensor | int, Tensor | int]:
        position = self.transform.position
        if position == "random":
            return columns["top"][:, None], columns["left"][:, None]
        tall, wide = self.out[0] - self.size[0], self.out[1] - self.size[1]
        top = {"c": tall // 2, "t": 0, "b": tall}[position[0]]
        left = wide // 2 if position == "center" else 0 if position.endswith("left") else wide
        return top, left


def _padded(size: int, least: int | None, divisor: int | None) -> int:
    """`size` padded to at least `least`, or to a multiple of `divisor`; albumentations takes exactly one of the two."""
    return -(-size // divisor) * divisor if divisor is not None else max(size, least or size)


class Crop(Op):
    """RandomCrop and CenterCrop."""

    def __init__(self, transform: Any, size: tuple[int, int]):
        super().__init__(transform, size)
        self.out = (transform.height, transform.width)
        self.random = type(transform).__name__ == "RandomCrop"

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Batched is one output size for all images, without padding."""
        if transform.pad_if_needed:
            return "pad_if_needed"
        return "p below 1 would give images of two sizes" if transform.p < 1 else ""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """``y`` and ``x``: where the crop begins, none for the centre."""
        if not self.random:
            return {}
        spare = [old - new + 1 for old, new in zip(self.size, self.out, strict=True)]
        return {"y": draw.below("y", spare[0])[:, 0], "x": draw.below("x", spare[1])[:, 0]}

    def plan(self, plan: Plan, columns: Params) -> None:
        """Take fewer rows and columns."""
        for axis, name, old, new in zip(("rows", "cols"), "yx", self.size, self.out, strict=True):
            start = columns[name][:, None] if self.random else (old - new) // 2
            plan.reindex(axis, torch.arange(new, device=plan.rows.device)[None] + start)


class Flip(Op):
    """HorizontalFlip and VerticalFlip."""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """``flip``: which images are mirrored."""
        return {"flip": draw.chance(self.transform.p)[:, 0]}

    def plan(self, plan: Plan, columns: Params) -> None:
        """Count columns (or rows) from the other end where ``flip``, (B,) bool, is true."""
        vertical = type(self.transform).__name__ == "VerticalFlip"
        axis, size = ("rows", self.size[0]) if vertical else ("cols", self.size[1])
        forward = torch.arange(size, device=columns["flip"].device)
        plan.reindex(axis, torch.where(columns["flip"][:, None], size - 1 - forward, forward))


class AlternatingFlip(Flip):
    """Which way an image stands depends on the image and the epoch, not on its position."""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """``flip``: by chance in the first epoch, then the other way from epoch to epoch."""
        return {"flip": alternating_flips(draw.seed, draw.epoch, draw.rows)}


class Holes(Op):
    """Cutout and CoarseDropout. Column ``holes``: (count, holes, 4) int64, x_min, y_min, x_max, y_max; or empty."""

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Batched is a colour as fill, neither noise nor inpainting."""
        return f"fill {transform.fill!r}" if isinstance(getattr(transform, "fill", 0), str) else ""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """``holes``, as the class has it; a hole of no size paints nothing."""
        holes = self._cutout if type(self.transform).__name__ == "Cutout" else self._coarse_dropout
        top, left, tall, wide = holes(draw)
        height, width = self.size
        bounds = (left.clip(0), top.clip(0), (left + wide).clip(max=width), (top + tall).clip(max=height))
        return {"holes": np.stack(bounds, axis=-1) * draw.chance(self.transform.p)[:, :, None]}

    def _cutout(self, draw: Draw) -> tuple[Any, Any, Any, Any]:
        t, (height, width) = self.transform, self.size
        top = draw.below("y", height, t.num_holes) - t.max_h_size // 2
        left = draw.below("x", width, t.num_holes) - t.max_w_size // 2
        return top, left, t.max_h_size, t.max_w_size

    def _coarse_dropout(self, draw: Draw) -> tuple[Any, Any, Any, Any]:
        t, (height, width) = self.transform, self.size
        least, most = t.num_holes_range
        used = np.arange(most) < least + draw.below("holes", most - least + 1)
        fractions = t.hole_height_range[1] < 1  # albumentations lets the height's range decide for both
        sizes = []
        for name, span, full in (("tall", t.hole_height_range, height), ("wide", t.hole_width_range, width)):
            if fractions:
                share = span[0] + (span[1] - span[0]) * draw.uniform(name, most)
                size = (full * share).astype(np.int64)
            else:
                size = int(span[0]) + draw.below(name, int(min(span[1], full) + 1) - int(span[0]), most)
            sizes.append(size * used)
        tall, wide = sizes
        return draw.below("y", height - tall + 1, most), draw.below("x", width - wide + 1, most), tall, wide

    def plan(self, plan: Plan, columns: Params) -> None:
        """Paint the holes over what is there."""
        colour = _packed_colour(getattr(self.transform, "fill_value", getattr(self.transform, "fill", 0)))
        y = torch.arange(self.size[0], device=plan.rows.device)
        x = torch.arange(self.size[1], device=plan.rows.device)
        for hole in columns["holes"].unbind(1):
            x_min, y_min, x_max, y_max = (bound[:, None] for bound in hole.unbind(1))
            plan.paint.append(((y >= y_min) & (y < y_max), (x >= x_min) & (x < x_max), colour))


def to_planes(packed: Tensor) -> Tensor:
    """(B, H, W) int32 to (B, 3, H, W) float32 on 0..255."""
    planes = torch.empty(packed.shape[0], 3, *packed.shape[1:], device=packed.device)
    for channel in range(3):
        planes[:, channel] = (packed >> (8 * channel)).bitwise_and_(255)
    return planes


def to_packed(planes: Tensor) -> Tensor:
    """(B, 3, H, W) whole numbers in 0..255 to (B, H, W) int32."""
    red, green, blue = planes.to(torch.int32).unbind(1)
    return red | (green << 8) | (blue << 16)
