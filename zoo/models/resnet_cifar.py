"""The narrow ResNets of 6n + 2 layers that He et al. made for CIFAR-10, with shortcuts that have no parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.resnet import BasicBlock, ResNet


def _pad_channels(x: Tensor, stride: int, new_channels: int) -> Tensor:
    """The paper's option A: every `stride`-th pixel, and zeros, half before and half after the channels of `x`."""
    if stride > 1:
        x = x[:, :, ::stride, ::stride]
    before = new_channels // 2
    return F.pad(x, (0, 0, 0, 0, before, new_channels - before)) if new_channels else x


class Block(BasicBlock):
    """A :class:`~zoo.models.resnet.BasicBlock` whose shortcut has no parameters."""

    @staticmethod
    def make_shortcut(norm: Norm, in_channels: int, channels: int, stride: int) -> Callable[[Tensor], Tensor]:
        """(N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        return partial(_pad_channels, stride=stride, new_channels=channels - in_channels)


def resnet_cifar(norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int, width: int = 16) -> ResNet:
    """A ResNet of `depth` 6n + 2, `width` channels in the stem. (N, in_channels, H, W) -> (N, num_classes).

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2.
    """
    if depth < 8 or (depth - 2) % 6:
        raise RegistryError(f"resnet_cifar depth {depth!r} is not 6n + 2; choose 20, 32, 44, 56 or 110")
    return ResNet(norm, num_classes, in_channels, width, Block, ((depth - 2) // 6,) * 3)
