"""ResNet-9, the small fast network of the DAWNBench CIFAR-10 entries."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.models.common import he_init


class ConvNormAct(nn.Module):
    """3x3 convolution, norm, activation, with `pool` a 2x2 max pool: (N, C_in, H, W) -> (N, C_out, H, W), or half."""

    def __init__(self, norm: Norm, in_channels: int, channels: int, pool: bool = False) -> None:
        super().__init__()
        self.conv1 = norm.conv2d(in_channels, channels, 3, stride=1, padding=1)
        # Not a `branch_end`, though it ends one in `Residual`: with a ReLU after it a zero scale would get no gradient.
        self.norm1 = norm(channels)
        self.act1 = norm.act()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, channels, H, W), half of each side where it pools."""
        x = self.pool(self.act1(self.norm1(self.conv1(x))))
        return x


class Residual(nn.Module):
    """Two :class:`ConvNormAct` around an identity shortcut: shape unchanged, nothing after the sum."""

    def __init__(self, norm: Norm, channels: int) -> None:
        super().__init__()
        self.block1 = ConvNormAct(norm, channels, channels)
        self.block2 = ConvNormAct(norm, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        out: Tensor = x + self.block2(self.block1(x))
        return out


class ResNet9(nn.Module):
    """Stem, ``layer1`` to ``layer3`` at 1/2, 1/4 and 1/8 resolution, max over the image, scaled linear classifier."""

    def __init__(self, norm: Norm, num_classes: int, in_channels: int, width: int, logit_scale: float) -> None:
        super().__init__()
        self.logit_scale = logit_scale
        self.stem = ConvNormAct(norm, in_channels, width)
        self.layer1 = nn.Sequential(ConvNormAct(norm, width, 2 * width, pool=True), Residual(norm, 2 * width))
        self.layer2 = nn.Sequential(ConvNormAct(norm, 2 * width, 4 * width, pool=True))
        self.layer3 = nn.Sequential(ConvNormAct(norm, 4 * width, 8 * width, pool=True), Residual(norm, 8 * width))
        self.fc = nn.Linear(8 * width, num_classes, bias=False)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        x = self.fc(F.max_pool2d(x, x.shape[2:]).flatten(1))
        return x * self.logit_scale


def resnet9(
    norm: Norm, num_classes: int = 10, in_channels: int = 3, *, width: int = 64, logit_scale: float = 0.125
) -> ResNet9:
    """ResNet-9, `width` channels in the stem, logits times `logit_scale`. (N, in_channels, H, W) -> (N, num_classes).

    Source: Page, "How to Train Your ResNet" (2018), part 4 onward.
    """
    return ResNet9(norm, num_classes, in_channels, width, logit_scale)
