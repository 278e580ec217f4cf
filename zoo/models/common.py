"""What more than one architecture uses: initialisation, pooling, and the end of a pre-activation branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.errors import RegistryError

T = TypeVar("T")


def he_init(model: nn.Module) -> None:
    """Initialise every convolution of `model` in place: normal, variance 2 / fan-out.

    Norms keep what their builders set and the classifier keeps torch's default.
    Paper: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def global_mean(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C), the mean over the image, in any memory layout."""
    return x.mean((2, 3))


def choose(table: Mapping[int, T], key: int, what: str) -> T:
    """`table[key]`, or :class:`~zoo.errors.RegistryError` that lists what there is. `what` names the keyword."""
    if key not in table:
        raise RegistryError(f"{what} {key!r} is not built here; choose one of {', '.join(map(str, table))}")
    return table[key]


def stage(block: Any, norm: Norm, in_channels: int, channels: int, count: int, stride: int) -> nn.Sequential:
    """`count` blocks ``block(norm, in, channels, stride)``; the first one changes resolution and width."""
    width = channels * block.expansion
    first = block(norm, in_channels, channels, stride)
    return nn.Sequential(first, *(block(norm, width, channels, 1) for _ in range(count - 1)))
