"""The narrow ResNets of 6n + 2 layers that He et al. made for CIFAR-10, with shortcuts that have no parameters."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.common import global_mean, he_init, stage


class Block(nn.Module):
    """Two 3x3 convolutions: (N, in_channels, H, W) -> (N, channels, H / stride, W / stride).

    Where the shape changes the shortcut is the paper's option A: every second pixel, and zeros for the new channels.
    """

    expansion = 1

    def __init__(self, norm: Norm, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = channels - in_channels
        self.conv1 = norm.conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.norm1 = norm(channels)
        self.act1 = norm.act()
        self.conv2 = norm.conv2d(channels, channels, 3, stride=1, padding=1)
        self.norm2 = norm(channels, apply_act=False, branch_end=True)

    def shortcut(self, x: Tensor) -> Tensor:
        """`x` in the shape of the block's output; the zeros are shared out before and after the old channels."""
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H / stride, W / stride)."""
        out = self.act1(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """Stem, ``layer1`` to ``layer3`` at full, 1/2 and 1/4 resolution, mean over the image, linear classifier."""

    def __init__(self, norm: Norm, num_classes: int, in_channels: int, depth: int, width: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise RegistryError(f"resnet_cifar depth {depth!r} is not 6n + 2; choose 20, 32, 44, 56 or 110")
        count = (depth - 2) // 6
        self.conv1 = norm.conv2d(in_channels, width, 3, stride=1, padding=1)
        self.norm1 = norm(width)
        self.act1 = norm.act()
        self.layer1 = stage(Block, norm, width, width, count, stride=1)
        self.layer2 = stage(Block, norm, width, 2 * width, count, stride=2)
        self.layer3 = stage(Block, norm, 2 * width, 4 * width, count, stride=2)
        self.fc = nn.Linear(4 * width, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.act1(self.norm1(self.conv1(x)))
        x = self.fc(global_mean(self.layer3(self.layer2(self.layer1(x)))))
        return x


def resnet_cifar(
    norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int, width: int = 16
) -> CifarResNet:
    """A ResNet of `depth` 6n + 2, `width` channels in the stem. (N, in_channels, H, W) -> (N, num_classes).

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2.
    """
    return CifarResNet(norm, num_classes, in_channels, depth, width)
