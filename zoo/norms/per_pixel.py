"""Norms over the channels of one pixel, which neither timm's layers nor torch's kernel serve in half precision."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.norms.stats import by_block, image_sum, like_parameter, per_channel, statistics_dtype, wide, wide_for


class LayerNorm2d(nn.LayerNorm):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` at every pixel, statistics over its channels.

    (N, C, H, W) -> same shape and dtype. ``timm.layers.LayerNorm2d`` is the same function through torch's layer norm on
    a permuted view. On a CPU that kernel sums the gradients of `weight` and `bias` in bfloat16, where a sum of many
    pixels stops growing (8,275 came out as 1,048 over 16,384 pixels, torch 2.15), and it copies NCHW input; here the
    former are summed in float32, and the latter has arithmetic of its own.
    Paper: Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450; per pixel as in ConvNeXt, arXiv:2201.03545.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        rows = x.permute(0, 2, 3, 1)
        y: Tensor
        if x.device.type == "cpu" and not rows.is_contiguous():
            y = _LayerNorm2d.apply(x, self.weight, self.bias, self.eps)
            return y
        if x.device.type == "cpu" and x.dtype != statistics_dtype(x):
            y = _Rows.apply(rows, self.weight, self.bias, self.eps)
        else:  # autocast gives float32 on a GPU
            y = F.layer_norm(rows, self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2).to(x.dtype)


class RmsNorm2d(nn.RMSNorm):
    """``x / sqrt(mean over channels of x^2 + eps) * weight`` at every pixel: no mean is subtracted, no bias is added.

    (N, C, H, W) -> same shape, dtype and memory layout. ``timm.layers.RmsNorm2d`` is the same function but squares in
    the input's dtype, which overflows in float16 from 256 on.
    Paper: Zhang, Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
    """

    eps: float

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        y: Tensor = _RmsNorm2d.apply(x, self.weight, self.eps)
        return y


class _Rows(torch.autograd.Function):
    """torch's layer norm over the last dimension, but for the sums over pixels."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, inverse = torch.native_layer_norm(rows, weight.shape, weight, bias, eps)
        ctx.save_for_backward(rows, weight, bias, mean, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, mean, inverse = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_rows, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient, rows, weight.shape, mean, inverse, weight, bias, (True, False, False)
        )

        def work(rows: Tensor, gradient: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
            g = wide(gradient).flatten(0, 2)
            centred = wide(rows).flatten(0, 2).sub_(mean.flatten()[:, None])
            # Each pixel's own scale and the sum over pixels are one product.
            of_weight = torch.mv(centred.mul_(g).t(), inverse.flatten())
            return of_weight[None], g.sum(0, keepdim=True)

        of_weight, of_bias = by_block(work, rows, gradient, wide(mean), wide(inverse))
        return of_rows, of_weight.sum(0).to(weight.dtype), of_bias.sum(0).to(bias.dtype), None


class _LayerNorm2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        def work(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            xs, out = wide(x), wide_for(y)
            mean = xs.mean(1, keepdim=True)
            torch.sub(xs, mean, out=out)
            inverse = torch.rsqrt(out.square().mean(1, keepdim=True) + eps)
            y.copy_(out.mul_(inverse).mul_(per_channel(weight, x)).add_(per_channel(bias, x)))
            return mean, inverse

        y = torch.empty_like(x)
        ctx.save_for_backward(x, weight, bias, *by_block(work, x, y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors

        def work(x: Tensor, gradient: Tensor, of_x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
            g = wide_for(of_x).copy_(gradient)
            w = per_channel(weight, x)
            normal = (wide(x) - mean).mul_(inverse)
            product = g * normal
            of_bias, of_weight = image_sum(g), image_sum(product)
            along = product.mul_(w).mean(1, keepdim=True)
            g.mul_(w)
            g.sub_(g.mean(1, keepdim=True)).addcmul_(normal, along, value=-1)
            of_x.copy_(g.mul_(inverse))
            return of_weight, of_bias

        of_x = torch.empty_like(x)
        of_weight, of_bias = by_block(work, x, gradient, of_x, mean, inverse)
        return of_x, like_parameter(of_weight, weight), like_parameter(of_bias, bias), None


class _RmsNorm2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        def work(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            xs, out = wide(x), wide_for(y)
            inverse = torch.rsqrt(torch.mul(xs, xs, out=out).mean(1, keepdim=True) + eps)
            y.copy_(torch.mul(xs, inverse, out=out).mul_(per_channel(weight, x)))
            return (inverse,)

        y = torch.empty_like(x)
        ctx.save_for_backward(x, weight, *by_block(work, x, y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors

        def work(x: Tensor, gradient: Tensor, of_x: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
            g = wide_for(of_x).copy_(gradient)
            w = per_channel(weight, x)
            normal = wide(x) * inverse
            product = g * normal
            of_weight = image_sum(product)
            along = product.mul_(w).mean(1, keepdim=True)
            of_x.copy_(g.mul_(w).addcmul_(normal, along, value=-1).mul_(inverse))
            return (of_weight,)

        of_x = torch.empty_like(x)
        (of_weight,) = by_block(work, x, gradient, of_x, inverse)
        return of_x, like_parameter(of_weight, weight), None
