"""Whether a norm's own convolution is one: an architecture asks for it as it would for ``nn.Conv2d``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def problem_of_convolution(conv: Callable[..., nn.Module]) -> str:
    """`conv` makes convolutions without bias as ``nn.Conv2d`` does: each output pixel is of the same input pixels.

    What is wrong with them in words, or nothing. What they raise passes through.
    """
    for size, options in (
        (3, {"padding": 1}),
        (3, {"stride": 2, "padding": 1}),
        (3, {"padding": 1, "groups": 4}),
        (3, {"padding": 2, "dilation": 2}),
        (1, {}),
        (1, {"stride": 2}),
    ):
        asked = f"of {size}x{size}" + "".join(f", {name}={number}" for name, number in options.items())
        layer, plain = conv(8, 16, size, **options), _plain(size, **options)
        if getattr(layer, "bias", None) is not None:
            return f"a convolution {asked} has a bias, though it is built with bias=False"
        g = torch.Generator().manual_seed(0)
        x = torch.randn(2, 8, 9, 9, generator=g)
        y, expected = layer(x), plain(x)
        if y.shape != expected.shape or y.dtype != x.dtype:
            return (
                f"a convolution {asked} makes {tuple(y.shape)} {y.dtype} of {tuple(x.shape)} {x.dtype}, expected "
                f"{tuple(expected.shape)}"
            )
        for place in ((0, 3, 0, 0), (1, 12, 2, 2)):
            if not torch.equal(_reached(layer, x, place), _reached(plain, x, place)):
                return f"a convolution {asked} reads other pixels or channels than nn.Conv2d does"
    return ""


def _plain(size: int, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(8, 16, size, stride, padding, dilation, groups, bias=False)
    nn.init.ones_(layer.weight)
    return layer


def _reached(layer: nn.Module, x: Tensor, place: tuple[int, ...]) -> Tensor:
    """Which input values the output at `place` depends on."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[place], x)
    return gradient != 0
