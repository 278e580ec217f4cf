"""Filter response normalisation with its thresholded linear unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.norms.stats import by_block, image_mean, image_sum, like_parameter, per_channel, relu_backward, wide, wide_for


class FilterResponseNorm(nn.Module):
    """``max(x / sqrt(mean over H, W of x^2 + eps) * weight + bias, tau)`` per image and channel.

    (N, C, H, W) -> same shape and dtype. Without `apply_act` there is no threshold `tau`; the rest stays. Where both
    sides of the maximum are equal, `tau` takes the gradient, as in ReLU. timm's ``FilterResponseNormTlu2d`` is the same
    function but squares in the input's dtype and is never float64 inside.
    Paper: Singh, Krishnan, "Filter Response Normalization Layer", arXiv:1911.09737 (epsilon fixed at 1e-6).
    """

    def __init__(self, num_channels: int, apply_act: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.tau = nn.Parameter(torch.zeros(num_channels)) if apply_act else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        y: Tensor = _Frn.apply(x, self.weight, self.bias, self.tau, self.eps)
        return y

    def extra_repr(self) -> str:
        """What ``print(module)`` shows in brackets."""
        return f"{self.weight.numel()}, eps={self.eps}, apply_act={self.tau is not None}"


class _Frn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, tau: Tensor | None, eps: float) -> Tensor:
        def work(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            xs, out = wide(x), wide_for(y)
            inverse = torch.rsqrt(image_mean(torch.mul(xs, xs, out=out)) + eps)
            torch.mul(xs, inverse * per_channel(weight, x), out=out).add_(per_channel(bias, x))
            if tau is not None:
                torch.maximum(out, per_channel(tau, x), out=out)
            y.copy_(out)
            return (inverse,)

        y = torch.empty_like(x)
        ctx.save_for_backward(x, weight, bias, tau, *by_block(work, x, y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, tau, inverse = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]

        def work(x: Tensor, gradient: Tensor, of_x: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
            xs, g = wide(x), wide_for(of_x).copy_(gradient)
            scale = inverse * per_channel(weight, x)
            buffer = xs * scale
            of_all = of_bias = image_sum(g)
            if tau is not None:
                relu_backward(g, buffer.add_(per_channel(bias, x) - per_channel(tau, x)))
                of_bias = image_sum(g)
            of_inverse = image_sum(torch.mul(g, xs, out=buffer))
            spread = of_inverse * scale * inverse.square() / pixels
            of_x.copy_(g.mul_(scale).addcmul_(xs, spread, value=-1))
            return of_all, of_bias, of_inverse

        of_x = torch.empty_like(x)
        of_all, of_bias, of_inverse = by_block(work, x, gradient, of_x, inverse)
        of_tau = None if tau is None else like_parameter(of_all - of_bias, tau)
        return of_x, like_parameter(of_inverse * inverse, weight), like_parameter(of_bias, bias), of_tau, None
