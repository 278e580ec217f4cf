"""Wide ResNets: few, wide pre-activation blocks in three stages."""

from __future__ import annotations

from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.preact_resnet import PreActResNet


def wide_resnet(norm: Norm, num_classes: int = 10, in_channels: int = 3, *, depth: int, widen: int) -> PreActResNet:
    """A WRN-`depth`-`widen`, without dropout: `depth` is 6n + 4. (N, in_channels, H, W) -> (N, num_classes).

    Raises :class:`~zoo.errors.RegistryError` for another depth.
    Paper: Zagoruyko, Komodakis, "Wide Residual Networks", arXiv:1605.07146.
    """
    if depth < 10 or (depth - 4) % 6:
        raise RegistryError(f"wide_resnet depth {depth!r} is not 6n + 4; choose 16, 22, 28 or 40")
    return PreActResNet(norm, num_classes, in_channels, 16, 16 * widen, ((depth - 4) // 6,) * 3)
