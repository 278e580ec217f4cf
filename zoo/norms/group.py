"""Norms over groups of channels within one image: LayerNorm, GroupNorm, InstanceNorm. They are torch's own kernels.

But for two things: under autocast on a GPU torch answers in float32, and all that follows up to the next convolution
would be twice as large; and on a CPU its GroupNorm of one channel per group takes channels-last input apart value by
value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.errors import RegistryError
from zoo.norms.stats import by_block, image_mean, image_sum, like_parameter, per_channel, wide, wide_for


def largest_divisor(num_channels: int, at_most: int) -> int:
    """The largest divisor of `num_channels` that is not above `at_most` (24, 16 -> 12).

    Raises :class:`~zoo.errors.RegistryError` where either number is below 1.
    """
    if at_most < 1 or num_channels < 1:
        raise RegistryError(f"group_size {at_most} for {num_channels} channels: both must be 1 or more")
    return next(size for size in range(min(at_most, num_channels), 0, -1) if num_channels % size == 0)


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` whose output has the dtype of its input, under autocast too. (N, C, H, W) -> same shape."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        return super().forward(x).to(x.dtype)


def layer_norm(num_channels: int, eps: float = 1e-5) -> GroupNorm:
    """LayerNorm over (C, H, W) of each image, one scale and bias per channel. (N, C, H, W) -> same shape.

    It is a GroupNorm of one group, the form that the GroupNorm paper calls LN for images.
    Paper: Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450.
    """
    return GroupNorm(1, num_channels, eps=eps)


def group_norm(num_channels: int, group_size: int = 16, eps: float = 1e-5) -> GroupNorm:
    """GroupNorm with `group_size` channels per group, or the largest divisor of C below it. (N, C, H, W) -> same shape.

    A size of the group, not a number of groups, is fixed so that narrow networks (16 channels) take it too.
    Raises :class:`~zoo.errors.RegistryError` where `group_size` is below 1.
    Paper: Wu, He, "Group Normalization", arXiv:1803.08494 (16 channels per group is one of its two settings).
    """
    return GroupNorm(num_channels // largest_divisor(num_channels, group_size), num_channels, eps=eps)


def instance_norm(num_channels: int, eps: float = 1e-5) -> InstanceNorm:
    """InstanceNorm over (H, W) of each image and channel, with scale and bias. (N, C, H, W) -> same shape.

    The same function as ``nn.InstanceNorm2d(affine=True)``, without running statistics, and faster on a CPU.
    Paper: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", arXiv:1607.08022.
    """
    return InstanceNorm(num_channels, eps)


class InstanceNorm(GroupNorm):
    """GroupNorm of one channel per group, with arithmetic of its own for channels-last input on a CPU.

    (N, C, H, W) -> same shape, dtype and, on a CPU, memory layout.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__(num_channels, num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        if x.device.type == "cpu" and not x.is_contiguous():
            y: Tensor = _InstanceNorm.apply(x, self.weight, self.bias, self.eps)
            return y
        return super().forward(x)


class _InstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        def work(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            xs, out = wide(x), wide_for(y)
            mean = image_mean(xs)
            torch.sub(xs, mean, out=out)
            inverse = torch.rsqrt(image_mean(out.square()) + eps)
            y.copy_(out.mul_(inverse * per_channel(weight, x)).add_(per_channel(bias, x)))
            return mean, inverse

        y = torch.empty_like(x)
        ctx.save_for_backward(x, weight, bias, *by_block(work, x, y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]

        def work(x: Tensor, gradient: Tensor, of_x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
            g = wide_for(of_x).copy_(gradient)
            centred = wide(x) - mean
            of_bias = image_sum(g)
            of_inverse = image_sum(g * centred)
            along = of_inverse * inverse.square() / pixels
            g.sub_(of_bias / pixels).addcmul_(centred, along, value=-1)
            of_x.copy_(g.mul_(inverse * per_channel(weight, x)))
            return of_bias, of_inverse

        of_x = torch.empty_like(x)
        of_bias, of_inverse = by_block(work, x, gradient, of_x, mean, inverse)
        return of_x, like_parameter(of_inverse * inverse, weight), like_parameter(of_bias, bias), None
