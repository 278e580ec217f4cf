"""The arithmetic of EvoNorm-S0 and EvoNorm-B0 (:mod:`zoo.norms.evonorm`), forward and backward.

In the backward passes `g` is the gradient of the output, ``of_a`` that of `a`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.norms.stats import image_mean, image_sum, like_parameter, per_channel, where_positive, wide, wide_copy

Gradients = tuple[Tensor | None, ...]


def _group_mean(moment: Tensor, size: int) -> Tensor:
    """(N, C, 1, 1) -> same shape: each channel gets the mean of its group of `size` channels."""
    n, c = moment.shape[:2]
    return moment.view(n, -1, size).mean(2, keepdim=True).expand(-1, -1, size).reshape(n, c, 1, 1)


class S0(torch.autograd.Function):
    """``x * sigmoid(v * x) / sqrt(group variance + eps) * weight + bias``; `v` None leaves the sigmoid out."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, v: Tensor | None, group_size: int, eps: float
    ) -> Tensor:
        xs = wide(x)
        mean = _group_mean(image_mean(xs), group_size)
        y = xs - mean
        inverse = torch.rsqrt(_group_mean(image_mean(y.square_()), group_size) + eps)
        scale = inverse * per_channel(weight, x)
        if v is None:
            torch.mul(xs, scale, out=y)
        else:
            torch.mul(xs, per_channel(v, x), out=y).sigmoid_().mul_(xs).mul_(scale)
        y.add_(per_channel(bias, x))
        ctx.save_for_backward(x, weight, bias, v, mean, inverse)
        ctx.group_size = group_size
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        x, weight, bias, v, mean, inverse = ctx.saved_tensors
        xs, g = wide(x), wide_copy(gradient, x)
        w = per_channel(weight, x)
        of_bias = image_sum(g)
        of_v = None
        if v is None:
            buffer = g * xs
            of_inverse = image_sum(buffer)
        else:
            gate = (xs * per_channel(v, x)).sigmoid_()
            gated = xs * gate
            buffer = g * gated
            of_inverse = image_sum(buffer)
            gated.addcmul_(gated, gate, value=-1).mul_(g)  # g * x * sigmoid', sigmoid' that by v * x
            of_v = like_parameter(image_sum(torch.mul(gated, xs, out=buffer)) * inverse * w, v)
            g.mul_(gate).addcmul_(gated, per_channel(v, x))
        of_deviation = _group_mean(of_inverse * w, ctx.group_size) * inverse**3 / -(x.shape[2] * x.shape[3])
        x_gradient = g.mul_(inverse * w).addcmul_(torch.sub(xs, mean, out=buffer), of_deviation)
        return (
            x_gradient.to(x.dtype),
            like_parameter(of_inverse * inverse, weight),
            like_parameter(of_bias, bias),
            of_v,
            None,
            None,
        )


class B0(torch.autograd.Function):
    """``x / max(batch deviation, v * x + image deviation) * weight + bias``; `v` None leaves only the batch's part.

    The batch's variance, (1, C, 1, 1) and biased, is the second output (without gradient), unless it is `given`, (C,).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, v: Tensor | None, given: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor]:
        xs = wide(x)
        y = torch.empty_like(xs)
        mean = batch_mean = image_std = None
        if given is None or v is not None:
            mean = image_mean(xs)
            variance = image_mean(torch.sub(xs, mean, out=y).square_())
            image_std = torch.sqrt(variance + eps)
        if given is None:
            batch_mean = mean.mean(0, keepdim=True)
            batch_variance = variance.mean(0, keepdim=True) + (mean - batch_mean).square().mean(0, keepdim=True)
        else:
            batch_variance = per_channel(given, x)
        batch_std = torch.sqrt(batch_variance + eps)
        if v is None:
            torch.mul(xs, per_channel(weight, x) / batch_std, out=y)
        else:
            torch.mul(xs, per_channel(v, x), out=y).add_(image_std)
            torch.div(xs, torch.maximum(y, batch_std, out=y), out=y).mul_(per_channel(weight, x))
        y.add_(per_channel(bias, x))
        ctx.save_for_backward(x, weight, bias, v, mean, batch_mean, image_std, batch_std)
        ctx.mark_non_differentiable(batch_variance)
        return y.to(x.dtype), batch_variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Gradients:
        x, weight, bias, v, mean, batch_mean, image_std, batch_std = ctx.saved_tensors
        xs, g = wide(x), wide_copy(gradient, x)
        w = per_channel(weight, x)
        pixels = x.shape[2] * x.shape[3]
        of_bias = image_sum(g)
        of_v = from_image = None
        if v is None:
            buffer = g * xs
            of_weight = image_sum(buffer) / batch_std
            of_batch_std = of_weight * w / -batch_std
            g.mul_(w / batch_std)
        else:
            above = (xs * per_channel(v, x)).add_(image_std)
            denominator = torch.maximum(above, batch_std)
            g.div_(denominator)
            buffer = g * xs
            of_weight = image_sum(buffer)
            buffer.div_(denominator)
            of_denominator = image_sum(buffer)
            of_above = where_positive(buffer, above.sub_(batch_std))  # of -`above`, without the weight
            of_image_std = image_sum(of_above)
            of_batch_std = (of_image_std - of_denominator) * w
            of_v = like_parameter(image_sum(torch.mul(of_above, xs, out=buffer)) * -w, v)
            g.addcmul_(of_above, per_channel(v, x), value=-1).mul_(w)
            from_image = of_image_std * w / (image_std * -pixels)
        if mean is not None:  # x - batch mean is x - image mean + what lies between the two
            x_factor = shift = None
            if batch_mean is not None:
                x_factor = of_batch_std.sum(0, keepdim=True) / (batch_std * (x.shape[0] * pixels))
                shift = (mean - batch_mean) * x_factor
            if from_image is not None:
                x_factor = from_image if x_factor is None else x_factor + from_image
            g.addcmul_(torch.sub(xs, mean, out=buffer), x_factor)
            if shift is not None:
                g.add_(shift)
        return (
            g.to(x.dtype),
            like_parameter(of_weight, weight),
            like_parameter(of_bias, bias),
            of_v,
            None,
            None,
        )
