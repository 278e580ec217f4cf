"""The batched transforms that compute new values: Rotate, Resize, Normalize."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.data.augment.ops import CONSTANT, REFLECT, REFLECT_101, REPLICATE, Draw, Op, Params


class Rotate(Op):
    """Bilinear rotation about the image's centre, angles in degrees, positive is counter-clockwise on the screen."""

    index_only = False

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Batched is bilinear rotation with a constant, repeated or mirrored border, without cropping."""
        if transform.interpolation != 1:  # cv2.INTER_LINEAR
            return f"interpolation {transform.interpolation}"
        if transform.border_mode not in (CONSTANT, REPLICATE, REFLECT, REFLECT_101):
            return f"border_mode {transform.border_mode}"
        return "crop_border" if transform.crop_border else ""

    def draw(self, draw: Draw) -> dict[str, np.ndarray]:
        """``angle``: (N,) float32 in degrees, 0 where the transform is not applied."""
        low, high = self.transform.limit
        angle = low + (high - low) * draw.uniform("angle")[:, 0]
        return {"angle": (angle * draw.chance(self.transform.p)[:, 0]).astype(np.float32)}

    def filter(self, planes: Tensor, columns: Params) -> Tensor:
        """Sample every output pixel at its source; the shape stays."""
        height, width = self.size
        mode = self.transform.border_mode
        corners = mode != REFLECT  # reflect-101 turns at pixel centres (align_corners), reflect at pixel edges
        spans = [(size - 1) / 2 if corners else size / 2 for size in (height, width)]
        angle = torch.deg2rad(columns["angle"])[:, None]
        cos, sin = torch.cos(angle), torch.sin(angle)  # (B, 1)
        y = torch.arange(height, device=planes.device, dtype=torch.float32) - (height - 1) / 2
        x = torch.arange(width, device=planes.device, dtype=torch.float32) - (width - 1) / 2
        # Source of output pixel (x, y): (cos x - sin y, sin x + cos y), in grid_sample's units of half an image.
        # Both coordinates are whole planes in memory: interleaved as usual, writing them takes five times as long.
        grid = torch.empty(2, planes.shape[0], height, width, device=planes.device)
        torch.sub((cos * x / spans[1])[:, None, :], (sin * y / spans[1])[:, :, None], out=grid[0])
        torch.add((sin * x / spans[0])[:, None, :], (cos * y / spans[0])[:, :, None], out=grid[1])
        grid = grid.permute(1, 2, 3, 0)
        padding = {CONSTANT: "zeros", REPLICATE: "border"}.get(mode, "reflection")
        if mode != CONSTANT:
            return functional.grid_sample(planes, grid, "bilinear", padding, corners)
        # Filled on the device: a tensor made from a Python list would be copied there and waited for in every batch.
        levels = np.broadcast_to(np.rint(self.transform.fill), 3)
        fill = torch.cat([torch.full((1, 1, 1), float(level), device=planes.device) for level in levels])
        return functional.grid_sample(planes - fill, grid, "bilinear", padding, corners) + fill


class Resize(Op):
    """Bilinear or, when it shrinks, by areas: a weighted sum of source pixels along each axis in turn."""

    index_only = False

    def __init__(self, transform: Any, size: tuple[int, int]):
        super().__init__(transform, size)
        self.out = (transform.height, transform.width)
        self._taps: dict[torch.device, list[tuple[int, list[tuple[Tensor, Tensor]]]]] = {}

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Batched is one output size for all images, bilinear or by areas."""
        if transform.p < 1:
            return "p below 1 would give images of two sizes"
        kind, out = Resize._interpolation(transform, size), (transform.height, transform.width)
        grows = out[0] > size[0] or out[1] > size[1]
        return f"interpolation {kind}" if kind not in (1, 3) or (kind == 3 and grows) else ""

    @staticmethod
    def _interpolation(transform: Any, size: tuple[int, int]) -> int:
        """OpenCV's number: 1 bilinear, 3 area."""
        shrinks = transform.height < size[0] or transform.width < size[1]
        return 3 if transform.area_for_downscale and shrinks else transform.interpolation

    @property
    def by_area(self) -> bool:
        """Whether every output pixel is the mean over its area, not bilinear."""
        return self._interpolation(self.transform, self.size) == 3

    @property
    def rounds_up(self) -> bool:
        """Whether a pixel halfway between two levels becomes the higher one, as in OpenCV, not the even one."""
        return not self.by_area or tuple(2 * size for size in self.out) == self.size

    def taps(self, device: torch.device) -> list[tuple[int, list[tuple[Tensor, Tensor]]]]:
        """For each axis the source's index and weight of every output pixel, tap by tap; made once per device."""
        if device not in self._taps:  # the only copies to it
            self._taps[device] = [
                (axis, _taps(self.size[axis - 2], self.out[axis - 2], self.by_area, device)) for axis in (2, 3)
            ]
        return self._taps[device]

    def filter(self, planes: Tensor, columns: Params) -> Tensor:
        """(B, 3, H, W) to (B, 3, ``height``, ``width``)."""
        for axis, taps in self.taps(planes.device):
            planes = weighted(planes, axis, taps)
        return (planes + 0.5).floor_() if self.rounds_up else planes


def weighted(planes: Tensor, axis: int, taps: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum over `taps` of the pixels at an index along the `axis`, times their weight."""
    return functools.reduce(
        operator.add,
        (planes.index_select(axis, index) * (weight[:, None] if axis == 2 else weight) for index, weight in taps),
    )


def _taps(old: int, new: int, area: bool, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Per tap the source index (int64) and weight (float32) of each of `new` output pixels along an axis of `old`."""
    scale, where = old / new, np.arange(new)
    if not area:
        centre = (where + 0.5) * scale - 0.5
        first = np.floor(centre).astype(np.int64)
        part = centre - first
        taps = [(first, 1 - part), (first + 1, part)]
    else:
        start = where * scale
        pixels = [np.floor(start).astype(np.int64) + tap for tap in range(int(np.ceil(scale)) + 1)]
        taps = [(i, np.clip(np.minimum(start + scale, i + 1) - np.maximum(start, i), 0, None) / scale) for i in pixels]
    return [
        (torch.from_numpy(i.clip(0, old - 1)).to(device), torch.from_numpy(weight.astype(np.float32)).to(device))
        for i, weight in taps
    ]


class Normalize(Op):
    """Only ever last: the executor reads its constants and subtracts and multiplies once."""

    index_only = False

    @staticmethod
    def reason(transform: Any, size: tuple[int, int]) -> str:
        """Batched is the standard formula, on every image."""
        if transform.normalization != "standard":
            return f"normalization {transform.normalization!r}"
        return "p below 1 would mix two scales" if transform.p < 1 else ""
