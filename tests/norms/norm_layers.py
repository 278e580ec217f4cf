"""Layers of the built-in registry in the middle of their life, and images for them: what the tests of norms share."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from zoo.builder.construct import load_norm
from zoo.builder.norm import Norm
from zoo.registry.entries import read_registry_file
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN
from zoo.testing import norms

REGISTRY = Registry([read_registry_file(BUILT_IN, "built in")])
NORMS = list(REGISTRY.norms)
INCLUDED = [name for name, entry in REGISTRY.norms.items() if entry.activation == "included"]
images = partial(norms.images, dtype=torch.float64)  # another dtype where a test says so
# With and without the activation, for norms that include it.
LAYERS = [(name, True) for name in NORMS] + [(name, False) for name in INCLUDED]
CHANNELS = 24  # not a multiple of the group size 16
SHAPE = (67, CHANNELS, 4, 3)  # two ghost batches of 32, and a remainder


def norm_of(name: str) -> Norm:
    return load_norm(REGISTRY.norms[name])


def make(name: str, apply_act: bool = True, channels: int = CHANNELS, dtype: torch.dtype = torch.float64) -> nn.Module:
    return in_midlife(norm_of(name)(channels, apply_act=apply_act).to(dtype))


def in_midlife(layer: nn.Module) -> nn.Module:
    """`layer` with no parameter or buffer where it started."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.5 * torch.rand(parameter.shape, generator=g)
        for buffer in layer.buffers():
            if buffer.is_floating_point():
                buffer += torch.rand(buffer.shape, generator=g)
            else:
                buffer.fill_(600)  # in the middle of batch renorm's ramp
    return layer


def parts(layer: nn.Module) -> dict[str, Tensor]:
    """Copies of the layer's parameters and buffers, floating point ones in float64; parameters take gradients."""
    own = dict(layer.named_parameters())
    copies = {k: v.detach().clone().double() if v.is_floating_point() else v.clone() for k, v in _state(layer).items()}
    return {name: value.requires_grad_(name in own) for name, value in copies.items()}


def _state(layer: nn.Module) -> dict[str, Tensor]:
    return {**dict(layer.named_parameters()), **dict(layer.named_buffers())}


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)
