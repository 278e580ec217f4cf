"""ResNet-18/34/50 for 32x32 images: a 3x3 stem without pooling, projection shortcuts, four stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.models.common import Staged, choose, global_mean, he_init


def _shortcut(norm: Norm, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Identity, or a 1x1 convolution and a norm where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        norm.conv2d(in_channels, out_channels, 1, stride=stride, padding=0),
        norm(out_channels, apply_act=False),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: (N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""

    expansion = 1
    make_shortcut: Callable[[Norm, int, int, int], Callable[[Tensor], Tensor]] = staticmethod(_shortcut)

    def __init__(self, norm: Norm, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = norm.conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.norm1 = norm(channels)
        self.act1 = norm.act()
        self.conv2 = norm.conv2d(channels, channels, 3, stride=1, padding=1)
        self.norm2 = norm(channels, apply_act=False, branch_end=True)
        self.shortcut = self.make_shortcut(norm, in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H / stride, W / stride)."""
        out = self.act1(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided), 1x1: (N, in_channels, H, W) -> (N, 4 * channels, H / stride, W / stride)."""

    expansion = 4

    def __init__(self, norm: Norm, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = norm.conv2d(in_channels, channels, 1, padding=0)
        self.norm1 = norm(channels)
        self.act1 = norm.act()
        self.conv2 = norm.conv2d(channels, channels, 3, stride=stride, padding=1)
        self.norm2 = norm(channels)
        self.act2 = norm.act()
        self.conv3 = norm.conv2d(channels, out_channels, 1, padding=0)
        self.norm3 = norm(out_channels, apply_act=False, branch_end=True)
        self.shortcut = _shortcut(norm, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H / stride, W / stride)."""
        out = self.act1(self.norm1(self.conv1(x)))
        out = self.act2(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return F.relu(out + self.shortcut(x))


DEPTHS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(Staged):
    """Stem, stages of `counts` blocks from full resolution on, mean over the image, linear classifier."""

    def __init__(
        self, norm: Norm, num_classes: int, in_channels: int, width: int, block: type[nn.Module], counts: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = norm.conv2d(in_channels, width, 3, stride=1, padding=1)
        self.norm1 = norm(width)
        self.act1 = norm.act()
        self.fc = nn.Linear(self.add_stages(block, norm, width, width, counts), num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.run_stages(self.act1(self.norm1(self.conv1(x))))
        x = self.fc(global_mean(x))
        return x


def resnet(norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int, width: int = 64) -> ResNet:
    """A ResNet of `depth` 18, 34 or 50, `width` channels in the stem. (N, in_channels, H, W) -> (N, num_classes).

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, with the stem usual at 32x32.
    """
    return ResNet(norm, num_classes, in_channels, width, *choose(DEPTHS, depth, "resnet depth"))
