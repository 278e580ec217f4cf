"""What is exported: the recipe's evaluation normalisation and the trained model as one module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.data.augment.spec import build, normalization_of, parse
from zoo.errors import ResultError
from zoo.trained.load import TrainedRun


@dataclass(frozen=True)
class Normalisation:
    """``(x - mean) / std`` for images x from 0 to 1: one number per channel, R, G, B."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def normalisation(run: TrainedRun) -> Normalisation:
    """What the recipe of `run` does to an image when it evaluates; without any transform the model saw 0 to 255.

    Raises :class:`ResultError` where it does anything but one ``Normalize`` with fixed constants.
    """
    where = f"{run.folder.path}: its recipe {run.result.recipe.name!r}"
    specs = parse(run.result.transforms("eval"), where)
    advice = "an export holds Normalize only; train with `augment.eval` of one Normalize, on images of the right size"
    if other := [spec.name for spec in specs if spec.name != "Normalize"]:
        raise ResultError(f"{where} evaluates with {' and '.join(other)}, and {advice}")
    if len(specs) > 1:
        raise ResultError(f"{where} normalises {len(specs)} times, and {advice}")
    if not specs:
        return Normalisation((0.0,) * 3, (1 / 255,) * 3)
    transform, constants = build(specs[0], where), normalization_of(specs[0])
    if constants is None or transform.p < 1:
        kind = f"normalization {transform.normalization!r}" if transform.p == 1 else f"p {transform.p}"
        raise ResultError(f"{where} evaluates with Normalize of {kind}, and {advice} with normalization 'standard'")
    return Normalisation(*constants)


class Graph(nn.Module):
    """(N, 3, H, W) float32 images from 0 to 1 to (N, classes) float32 logits: normalisation, then the trained model.

    Always in evaluation mode. No mirrored or shifted copies, whatever the recipe evaluates with.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, run: TrainedRun) -> None:
        super().__init__()
        constants = normalisation(run)
        # Plain memory order: what a model does with strides must not become part of the program.
        self.model = run.load(torch.device("cpu")).to(memory_format=torch.contiguous_format)
        for name, channels in (("mean", constants.mean), ("scale", [1 / std for std in constants.std])):
            self.register_buffer(name, torch.tensor(channels, dtype=torch.float32).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)  # what an exporter makes of a norm may have no backward pass

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`."""
        logits: Tensor = self.model((images - self.mean) * self.scale)
        return logits
