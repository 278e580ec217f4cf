"""Norms over the channels of one pixel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.norms.stats import EVERY_PIXEL, per_channel, wide, wide_copy

# torch's kernel walks from pixel to pixel: below this many channels there is too little to do at each.
KERNEL_CHANNELS = 32


class LayerNorm2d(nn.LayerNorm):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` at every pixel, statistics over its channels.

    (N, C, H, W) -> same shape, dtype and memory layout. The same function as ``timm.layers.LayerNorm2d``, whose layer
    norm on a permuted view copies NCHW input and is slow where channels are few; both are left to torch's kernel here
    only where it is the fastest.
    Paper: Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450; per pixel as in ConvNeXt, arXiv:2201.03545.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        if rows.is_contiguous() and (x.device.type != "cpu" or x.shape[1] >= KERNEL_CHANNELS):
            y = F.layer_norm(rows, self.normalized_shape, self.weight, self.bias, self.eps)
            return y.permute(0, 3, 1, 2).to(x.dtype)  # autocast computes it in float32 on a GPU
        return _LayerNorm2d.apply(x, self.weight, self.bias, self.eps)


class RmsNorm2d(nn.Module):
    """``x / sqrt(mean over channels of x^2 + eps) * weight`` at every pixel: no mean is subtracted, no bias is added.

    (N, C, H, W) -> same shape, dtype and memory layout. ``timm.layers.RmsNorm2d`` is the same function but squares in
    the input's dtype, which overflows in float16 from 256 on.
    Paper: Zhang, Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        return _RmsNorm2d.apply(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"


class _LayerNorm2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        xs = wide(x)
        mean = xs.mean(1, keepdim=True)
        centred = xs - mean
        squares = centred.square()
        inverse = torch.rsqrt(squares.mean(1, keepdim=True) + eps)
        y = centred.mul_(inverse).mul_(per_channel(weight, x)).add_(per_channel(bias, x))
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        g = wide_copy(gradient, x)
        normal = (wide(x) - mean).mul_(inverse)
        of_bias = g.sum(EVERY_PIXEL)
        product = g * normal
        of_weight = product.sum(EVERY_PIXEL)
        w = per_channel(weight, x)
        along = product.mul_(w).mean(1, keepdim=True)
        g.mul_(w)
        g.sub_(g.mean(1, keepdim=True)).addcmul_(normal, along, value=-1).mul_(inverse)
        return g.to(x.dtype), of_weight.to(weight.dtype), of_bias.to(bias.dtype), None


class _RmsNorm2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        xs = wide(x)
        y = xs.square()
        inverse = torch.rsqrt(y.mean(1, keepdim=True) + eps)
        torch.mul(xs, inverse, out=y).mul_(per_channel(weight, x))
        ctx.save_for_backward(x, weight, inverse)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        g = wide_copy(gradient, x)
        normal = wide(x) * inverse
        product = g * normal
        of_weight = product.sum(EVERY_PIXEL)
        w = per_channel(weight, x)
        along = product.mul_(w).mean(1, keepdim=True)
        g.mul_(w).addcmul_(normal, along, value=-1).mul_(inverse)
        return g.to(x.dtype), of_weight.to(weight.dtype), None
