"""The arithmetic of EvoNorm-S0 and EvoNorm-B0 (:mod:`zoo.norms.evonorm`), forward and backward.

In the backward passes `g` is the gradient of the output, ``of_a`` that of `a`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.norms.stats import by_block, image_mean, image_sum, like_parameter, per_channel, relu_backward, wide, wide_for


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
        """The layer's output; statistics are kept for the backward pass."""

        def work(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            xs, out = wide(x), wide_for(y)
            mean = _group_mean(image_mean(xs), group_size)
            torch.sub(xs, mean, out=out)
            inverse = torch.rsqrt(_group_mean(image_mean(out.square_()), group_size) + eps)
            gated = xs if v is None else torch.mul(xs, per_channel(v, x), out=out).sigmoid_().mul_(xs)
            y.copy_(torch.addcmul(per_channel(bias, x), gated, inverse * per_channel(weight, x), out=out))
            return mean, inverse

        y = torch.empty_like(x)
        ctx.save_for_backward(x, weight, bias, v, *by_block(work, x, y))
        ctx.group_size = group_size
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the input, `weight`, `bias` and `v`."""
        x, weight, bias, v, mean, inverse = ctx.saved_tensors
        group_size, pixels = ctx.group_size, x.shape[2] * x.shape[3]

        def work(x: Tensor, gradient: Tensor, of_x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
            xs, g = wide(x), wide_for(of_x).copy_(gradient)
            w = per_channel(weight, x)
            of_bias = image_sum(g)
            if v is None:
                buffer = g * xs
                of_inverse = of_v = image_sum(buffer)
            else:
                gate = (xs * per_channel(v, x)).sigmoid_()
                gated = xs * gate
                buffer = g * gated
                of_inverse = image_sum(buffer)
                gated.addcmul_(gated, gate, value=-1).mul_(g)  # g * x * sigmoid', sigmoid' that by v * x
                of_v = image_sum(torch.mul(gated, xs, out=buffer)) * inverse * w
                g.mul_(gate).addcmul_(gated, per_channel(v, x))
            of_deviation = _group_mean(of_inverse * w, group_size) * inverse**3 / -pixels
            # ... + (x - mean) * of_deviation, the mean's part of it first: it is a value an image and group
            torch.addcmul(mean * -of_deviation, g, inverse * w, out=g)
            of_x.copy_(g.addcmul_(xs, of_deviation))
            return of_inverse * inverse, of_bias, of_v

        of_x = torch.empty_like(x)
        of_weight, of_bias, of_gate = by_block(work, x, gradient, of_x, mean, inverse)
        of_v = None if v is None else like_parameter(of_gate, v)
        return of_x, like_parameter(of_weight, weight), like_parameter(of_bias, bias), of_v, None, None


class B0(torch.autograd.Function):
    """``x / max(batch deviation, v * x + image deviation) * weight + bias``; `v` None leaves only the batch's part.

    The second output is the batch's variance, (1, C, 1, 1), biased and without gradient. Where `fixed` is a variance,
    (C,), that is used in place of the batch's.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, v: Tensor | None, fixed: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor]:
        """The layer's output and the batch's biased variance (1, C, 1, 1), or `fixed` in that shape."""
        moments = [*by_block(_moments, x)] if fixed is None or v is not None else []
        mean = moments[0] if moments else None
        image_std = None if v is None else torch.sqrt(moments[1] + eps)
        batch_mean = None
        if fixed is None:
            batch_mean = moments[0].mean(0, keepdim=True)
            batch_variance = moments[1].mean(0, keepdim=True) + (moments[0] - batch_mean).square().mean(0, keepdim=True)
        else:
            batch_variance = per_channel(fixed, x)
        batch_std = torch.sqrt(batch_variance + eps)

        def work(x: Tensor, y: Tensor, image_std: Tensor | None = None) -> tuple[Tensor, ...]:
            xs, out = wide(x), wide_for(y)
            w = per_channel(weight, x)
            if v is None or image_std is None:
                torch.addcmul(per_channel(bias, x), xs, w / batch_std, out=out)
            else:
                torch.addcmul(image_std, xs, per_channel(v, x), out=out)
                torch.div(xs, torch.maximum(out, batch_std, out=out), out=out)
                torch.addcmul(per_channel(bias, x), out, w, out=out)
            y.copy_(out)
            return ()

        y = torch.empty_like(x)
        by_block(work, x, y) if image_std is None else by_block(work, x, y, image_std)
        ctx.save_for_backward(x, weight, bias, v, mean, batch_mean, image_std, batch_std)
        ctx.mark_non_differentiable(batch_variance)
        return y, batch_variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the input, `weight`, `bias` and `v`."""
        x, weight, bias, v, mean, batch_mean, image_std, batch_std = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]
        of_x = torch.empty_like(x)
        g = wide_for(of_x).copy_(gradient)
        w = per_channel(weight, x)

        def without_gate(x: Tensor, g: Tensor) -> tuple[Tensor, ...]:
            xs = wide(x)
            of_bias, of_weight = image_sum(g), image_sum(g * xs) / batch_std
            return of_bias, of_weight, of_weight * w / -batch_std

        def with_gate(x: Tensor, g: Tensor, image_std: Tensor) -> tuple[Tensor, ...]:
            xs = wide(x)
            of_bias = image_sum(g)
            above = torch.addcmul(image_std, xs, per_channel(v, x))
            denominator = torch.maximum(above, batch_std)
            g.div_(denominator)
            of_denominator = g * xs
            of_weight = image_sum(of_denominator)
            of_all = image_sum(of_denominator.div_(denominator))
            of_above = relu_backward(of_denominator, above.sub_(batch_std))
            of_image_std = image_sum(of_above)
            of_v = image_sum(torch.mul(of_above, xs, out=above))
            g.addcmul_(of_above, per_channel(v, x), value=-1)
            return of_bias, of_weight, (of_image_std - of_all) * w, of_image_std * w, of_v * -w

        if v is None:
            of_bias, of_weight, of_batch_std = by_block(without_gate, x, g)
            of_v = None
        else:
            of_bias, of_weight, of_batch_std, of_image_std, of_v = by_block(with_gate, x, g, image_std)
            of_v = like_parameter(of_v, v)
        scale = w / batch_std if v is None else w  # of what is left in g
        if mean is None:
            of_x.copy_(g.mul_(scale))
        else:
            # (x - mean) times the slope of each deviation; the means' parts are together a value an image and channel
            slope = torch.zeros_like(mean) if v is None else of_image_std / (image_std * -pixels)
            along = mean * -slope
            if batch_mean is not None:
                of_batch = of_batch_std.sum(0, keepdim=True) / (batch_std * (x.shape[0] * pixels))
                slope, along = slope + of_batch, along - batch_mean * of_batch

            def add_centred(x: Tensor, g: Tensor, of_x: Tensor, along: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
                of_x.copy_(torch.addcmul(along, wide(x), slope).addcmul_(g, scale))
                return ()

            by_block(add_centred, x, g, of_x, along, slope)
        return of_x, like_parameter(of_weight, weight), like_parameter(of_bias, bias), of_v, None, None


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over each image, (N, C, 1, 1), in two passes: exact as Welford's method, but faster."""
    xs = wide(x)
    mean = image_mean(xs)
    return mean, image_mean((xs - mean).square_())
