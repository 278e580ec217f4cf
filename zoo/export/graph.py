"""What is exported: the recipe's evaluation (Resize, Normalize) and the trained model as one module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.augment.filters import Resize, weighted
from zoo.data.augment.spec import build, normalization_of, parse
from zoo.errors import ResultError
from zoo.trained.load import TrainedRun


@dataclass(frozen=True)
class Preparation:
    """``(x - mean) / std`` for images x from 0 to 1: one number per channel, R, G, B.

    `resize`: albumentations' transform that comes before, if any.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Any = None


def preparation(run: TrainedRun) -> Preparation:
    """What the recipe of `run` does to an image when it evaluates; without any transform the model saw 0 to 255.

    Raises :class:`ResultError` where it does anything but one ``Normalize`` with fixed constants, after a ``Resize``.
    """
    where = f"{run.folder.path}: its recipe {run.result.recipe.name!r}"
    specs = parse(run.result.transforms("eval"), where)
    resize = build(specs[0], where) if specs and specs[0].name == "Resize" else None
    specs = specs[1:] if resize else specs
    advice = "an export holds one Normalize only, after one Resize at most; train with such an `augment.eval`"
    if other := [spec.name for spec in specs if spec.name != "Normalize"]:
        raise ResultError(f"{where} evaluates with {' and '.join(other)}, and {advice}")
    if len(specs) > 1:
        raise ResultError(f"{where} normalises {len(specs)} times, and {advice}")
    if not specs:
        return Preparation((0.0,) * 3, (1 / 255,) * 3, resize)
    transform, constants = build(specs[0], where), normalization_of(specs[0])
    if constants is None or transform.p < 1:
        kind = f"normalization {transform.normalization!r}" if transform.p == 1 else f"p {transform.p}"
        raise ResultError(f"{where} evaluates with Normalize of {kind}, and {advice}, with normalization 'standard'")
    return Preparation(*constants, resize)


class Resized(nn.Module):
    """Images from 0 to 1 in another size, at the 256 levels that the run saw."""

    def __init__(self, resize: Resize) -> None:
        super().__init__()
        self.size, self.mode = resize.out, "area" if resize.by_area else "bilinear"
        self.rounds_up = resize.rounds_up
        self.taps = {axis: len(taps) for axis, taps in resize.taps(torch.device("cpu"))}
        for axis, taps in resize.taps(torch.device("cpu")):
            for number, (index, weight) in enumerate(taps):
                self.register_buffer(f"index{axis}_{number}", index)
                self.register_buffer(f"weight{axis}_{number}", weight)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, H', W')."""
        own = dict(self.named_buffers())
        levels = (images * 255).round()
        for axis, count in self.taps.items():
            taps = [(own[f"index{axis}_{number}"], own[f"weight{axis}_{number}"]) for number in range(count)]
            levels = weighted(levels, axis, taps)
        return ((levels + 0.5).floor() if self.rounds_up else levels.round()) / 255


def resized(run: TrainedRun, size: tuple[int, int]) -> Resized | None:
    """What resizes images of this (height, width) as the recipe of `run` does; None where it does not resize.

    Raises :class:`ResultError` for a way that no graph has.
    """
    if (transform := preparation(run).resize) is None:
        return None
    if reason := Resize.reason(transform, size):
        raise ResultError(f"{run.folder.path}: an export holds no Resize with {reason}; train with a bilinear one")
    return Resized(Resize(transform, size))


class Graph(nn.Module):
    """(N, 3, H, W) float32 images from 0 to 1 to (N, classes) float32 logits: resized, normalised, then the model.

    Always in evaluation mode. No mirrored or shifted copies, whatever the recipe evaluates with.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, run: TrainedRun, size: tuple[int, int]) -> None:
        super().__init__()
        constants, self.resized = preparation(run), resized(run, size)
        # Plain memory order: what a model does with strides must not become part of the program.
        self.model = run.load(torch.device("cpu")).to(memory_format=torch.contiguous_format)
        for name, channels in (("mean", constants.mean), ("scale", [1 / std for std in constants.std])):
            self.register_buffer(name, torch.tensor(channels, dtype=torch.float32).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)  # what an exporter makes of a norm may have no backward pass

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`."""
        images = images if self.resized is None else self.resized(images)
        logits: Tensor = self.model((images - self.mean) * self.scale)
        return logits
