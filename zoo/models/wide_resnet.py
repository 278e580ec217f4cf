"""Wide ResNets: few, wide pre-activation blocks in three stages."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.common import global_mean, he_init, stage
from zoo.models.preact_resnet import PreActBlock


class WideResNet(nn.Module):
    """Stem of 16 channels, ``layer1`` to ``layer3``, a last norm and ReLU, mean over the image, linear classifier."""

    def __init__(self, norm: Norm, num_classes: int, in_channels: int, depth: int, widen: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise RegistryError(f"wide_resnet depth {depth!r} is not 6n + 4; choose 16, 22, 28 or 40")
        count = (depth - 4) // 6
        width = 16 * widen
        self.conv1 = norm.conv2d(in_channels, 16, 3, stride=1, padding=1)
        self.layer1 = stage(PreActBlock, norm, 16, width, count, stride=1)
        self.layer2 = stage(PreActBlock, norm, width, 2 * width, count, stride=2)
        self.layer3 = stage(PreActBlock, norm, 2 * width, 4 * width, count, stride=2)
        self.norm = norm(4 * width)
        self.act = norm.act()
        self.fc = nn.Linear(4 * width, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = self.fc(global_mean(self.act(self.norm(x))))
        return x


def wide_resnet(norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int, widen: int) -> WideResNet:
    """A WRN-`depth`-`widen`, without dropout: `depth` is 6n + 4. (N, in_channels, H, W) -> (N, num_classes).

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: Zagoruyko, Komodakis, "Wide Residual Networks", arXiv:1605.07146.
    """
    return WideResNet(norm, num_classes, in_channels, depth, widen)
