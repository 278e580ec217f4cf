"""One pass of images through a model: which layers of a kind run, in which order, and what they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Observed:
    """A layer that ran: its path in the model, and the shapes of its input and its output, one for each pass."""

    path: str
    layer: nn.Module
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    outputs: list[tuple[int, ...]] = field(default_factory=list)


def observe(
    module: nn.Module, wanted: Callable[[nn.Module], bool], shape: tuple[int, int, int, int]
) -> tuple[list[Observed], object]:
    """The `wanted` layers of `module` that ran on (N, C, H, W) zeros of `shape`, first ones first, and its output.

    The model runs in eval mode and without gradients; each part's own mode is put back. A layer counts where its input
    and its output are tensors.
    """
    observed: dict[str, Observed] = {}

    def record(path: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                entry = observed.setdefault(path, Observed(path, layer))
                entry.inputs.append(tuple(inputs[0].shape))
                entry.outputs.append(tuple(output.shape))

        return hook

    modes = [(part, part.training) for part in module.modules()]
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    handles = [part.register_forward_hook(record(path)) for path, part in module.named_modules() if wanted(part)]
    try:
        with torch.no_grad():
            output = module.eval()(torch.zeros(shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
    return list(observed.values()), output
