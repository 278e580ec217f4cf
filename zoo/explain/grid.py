"""Where the pixels are in what a layer puts out: maps, channels-last maps, or tokens that form the image's grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PREFIX = 8  # at most so many tokens before those of the image: of the class, of a teacher, registers


@dataclass(frozen=True)
class Grid:
    """How an output for N images becomes (N, C, H, W), and back.

    `kind` is ``maps`` (N, C, H, W), ``channels last`` (N, H, W, C) or ``tokens`` (N, L, C), of which the first `prefix`
    are of no place. `shape` is (C, H, W).
    """

    kind: str
    shape: tuple[int, int, int]
    prefix: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """(N, C, H, W)."""
        if self.kind == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.kind == "tokens":
            return output[:, self.prefix :].transpose(1, 2).reshape(len(output), *self.shape)
        return output

    def back(self, maps: Tensor, output: Tensor) -> Tensor:
        """`maps` in the shape of the `output` that they come from."""
        if self.kind == "channels last":
            return maps.permute(0, 2, 3, 1)
        if self.kind == "tokens":
            return torch.cat([output[:, : self.prefix], maps.flatten(2).transpose(1, 2)], 1)
        return maps


def grid_of(output: object, images: Tensor) -> Grid | None:
    """The grid of a layer's `output` for (N, C, H, W) `images`; None where it is of vectors, or not one for each image.

    A grid has the image's proportions, so that a square image's has as many rows as columns, and more than one place.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.shape[:1] != images.shape[:1]:
        return None
    height, width = images.shape[2:]
    first, *rest = output.shape[1:] or (0,)
    if len(rest) == 2 and max(rest) > 1 and first * width == rest[0] * height and rest[0] * width != rest[1] * height:
        return Grid("channels last", (rest[1], first, rest[0]))
    if len(rest) == 2 and max(rest) > 1:
        return Grid("maps", (first, rest[0], rest[1]))
    for prefix in range(PREFIX + 1) if len(rest) == 1 else ():
        rows = round(((first - prefix) * height / width) ** 0.5) if first > prefix else 0
        columns = (first - prefix) // rows if rows else 0
        if rows * columns == first - prefix > 1 and rows * width == columns * height:
            return Grid("tokens", (rest[0], rows, columns), prefix)
    return None
