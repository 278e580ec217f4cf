"""Norms over groups of channels within one image: LayerNorm, GroupNorm, InstanceNorm. All are torch's own kernels."""

from __future__ import annotations

from torch import nn

from zoo.errors import RegistryError


def largest_divisor(num_channels: int, at_most: int) -> int:
    """The largest divisor of `num_channels` that is not above `at_most` (24, 16 -> 12).

    Raises :class:`~zoo.errors.RegistryError` where either number is below 1.
    """
    if at_most < 1 or num_channels < 1:
        raise RegistryError(f"group_size {at_most} for {num_channels} channels: both must be 1 or more")
    return next(size for size in range(min(at_most, num_channels), 0, -1) if num_channels % size == 0)


def layer_norm(num_channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """LayerNorm over (C, H, W) of each image, one scale and bias per channel. (N, C, H, W) -> same shape.

    It is a GroupNorm of one group, the form that the GroupNorm paper calls LN for images.
    Paper: Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450.
    """
    return nn.GroupNorm(1, num_channels, eps=eps)


def group_norm(num_channels: int, group_size: int = 16, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm with `group_size` channels per group, or the largest divisor of C below it. (N, C, H, W) -> same shape.

    A size of the group, not a number of groups, is fixed so that narrow networks (16 channels) take it too.
    Raises :class:`~zoo.errors.RegistryError` where `group_size` is below 1.
    Paper: Wu, He, "Group Normalization", arXiv:1803.08494 (16 channels per group is one of its two settings).
    """
    return nn.GroupNorm(num_channels // largest_divisor(num_channels, group_size), num_channels, eps=eps)


def instance_norm(num_channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """InstanceNorm over (H, W) of each image and channel, with scale and bias. (N, C, H, W) -> same shape.

    A GroupNorm of one channel per group: the same function as ``nn.InstanceNorm2d(affine=True)``, without running
    statistics, and about twice as fast on a CPU in NCHW (it is slow in channels-last, as InstanceNorm2d is).
    Paper: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", arXiv:1607.08022.
    """
    return nn.GroupNorm(num_channels, num_channels, eps=eps)
