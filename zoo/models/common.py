"""What more than one architecture uses: initialisation, pooling, and stages of residual blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Staged(nn.Module):
    """A network with the stages ``layer1``, ``layer2``, ..., each of half the resolution of the one before."""

    def add_stages(self, block: Any, norm: Norm, in_channels: int, width: int, counts: Sequence[int]) -> int:
        """Add a stage of blocks ``block(norm, in, channels, stride)`` for each of `counts`; the channels of the last.

        `channels` is `width` in the first stage and doubles from stage to stage.
        """
        self.stages = [f"layer{number + 1}" for number in range(len(counts))]
        for number, (name, count) in enumerate(zip(self.stages, counts, strict=True)):
            channels = width * 2**number
            blocks = [block(norm, in_channels, channels, 2 if number else 1)]
            in_channels = channels * block.expansion
            blocks += [block(norm, in_channels, channels, 1) for _ in range(count - 1)]
            self.add_module(name, nn.Sequential(*blocks))
        return in_channels

    def run_stages(self, x: Tensor) -> Tensor:
        """(N, C, H, W) through all stages."""
        for name in self.stages:
            x = getattr(self, name)(x)
        return x
