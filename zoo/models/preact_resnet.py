"""Pre-activation ResNet-18 and wide ResNets share a block: norm and ReLU come before each convolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.models.common import Staged, choose, global_mean, he_init


class PreActBlock(nn.Module):
    """Two 3x3 convolutions: (N, in_channels, H, W) -> (N, channels, H / stride, W / stride).

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input; else it is the raw input.
    """

    expansion = 1

    def __init__(self, norm: Norm, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.act1 = norm.act()
        self.conv1 = norm.conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.norm2 = norm(channels)
        self.act2 = norm.act()
        self.conv2 = norm.conv2d(channels, channels, 3, stride=1, padding=1)
        self.scale = norm.branch_scale(channels)
        self.shortcut = None
        if stride != 1 or in_channels != channels:
            self.shortcut = norm.conv2d(in_channels, channels, 1, stride=stride, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H / stride, W / stride)."""
        out: Tensor = self.act1(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.conv2(self.act2(self.norm2(self.conv1(out))))
        out = self.scale(out) + shortcut
        return out


DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class PreActResNet(Staged):
    """Convolution to `stem` channels, stages of `counts` blocks, norm, ReLU, mean over the image, linear classifier."""

    def __init__(
        self, norm: Norm, num_classes: int, in_channels: int, stem: int, width: int, counts: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = norm.conv2d(in_channels, stem, 3, stride=1, padding=1)
        channels = self.add_stages(PreActBlock, norm, stem, width, counts)
        self.norm = norm(channels)
        self.act = norm.act()
        self.fc = nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.run_stages(self.conv1(x))
        x = self.fc(global_mean(self.act(self.norm(x))))
        return x


def preact_resnet(
    norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int = 18, width: int = 64
) -> PreActResNet:
    """A pre-activation ResNet of `depth` 18 or 34, 3x3 stem. (N, in_channels, H, W) -> (N, num_classes).

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027.
    """
    counts = choose(DEPTHS, depth, "preact_resnet depth")
    return PreActResNet(norm, num_classes, in_channels, width, width, counts)
