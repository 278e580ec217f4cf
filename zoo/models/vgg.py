"""VGG-16 with a norm after every convolution and one linear layer as head, as is usual at 32x32."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.models.common import choose, global_mean, he_init

# depth: how many convolutions each of the five stages has.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class ConvNormAct(nn.Module):
    """3x3 convolution, norm, activation: (N, C_in, H, W) -> (N, C_out, H, W)."""

    def __init__(self, norm: Norm, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = norm.conv2d(in_channels, channels, 3, stride=1, padding=1)
        self.norm1 = norm(channels)
        self.act1 = norm.act()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, channels, H, W)."""
        x = self.act1(self.norm1(self.conv1(x)))
        return x


class Vgg(nn.Module):
    """``layer1`` to ``layer5``, each ending in a max pool, mean over the image (1x1 at 32x32), linear classifier."""

    def __init__(self, norm: Norm, num_classes: int, in_channels: int, depth: int, width: int) -> None:
        super().__init__()
        counts = choose(DEPTHS, depth, "vgg depth")
        stages = []
        for count, channels in zip(counts, (1, 2, 4, 8, 8), strict=True):
            widths = [in_channels, *[channels * width] * count]
            convs = [ConvNormAct(norm, a, b) for a, b in itertools.pairwise(widths)]
            stages.append(nn.Sequential(*convs, nn.MaxPool2d(2)))
            in_channels = channels * width
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = stages
        self.fc = nn.Linear(in_channels, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.layer5(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        x = self.fc(global_mean(x))
        return x


def vgg(norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int, width: int = 64) -> Vgg:
    """A VGG of `depth` 11, 13, 16 or 19. (N, in_channels, H, W) -> (N, num_classes); H and W are 32 or more.

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: Simonyan, Zisserman, "Very Deep Convolutional Networks", arXiv:1409.1556.
    """
    return Vgg(norm, num_classes, in_channels, depth, width)
