"""Convolutions on small feature maps as matrix products, where a CPU's bf16 kernels are slow at them.

oneDNN takes up to five times as long for the weights' gradient on maps of 8x8 and below as a product of the same size
takes on a processor with bf16, and on 4x4 up to twice as long for the forward pass and the input's gradient
(``pytest benchmarks -k small_maps``). The sums are the same, over the same bf16 values, in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

POSITIONS = 64  # of the output map, at most: above it the copies of the patches cost more than is won
ALL_POSITIONS = 16  # at most, for the forward pass and the input's gradient as well
CHANNELS = 128  # of input and output, at least: products of thinner matrices win nothing
PATCHES = 2**28  # bytes that the patches of a batch take, at most
BATCH = 128  # at least, for the input's gradient: a product of fewer rows wins nothing
# Classes that are known to call ``conv2d`` once and to hold `weight` as it is: torch's, and weight standardisation's.
KINDS = (("torch.nn.modules.conv", "Conv2d"), ("timm.layers.std_conv", "StdConv2d"))


def use_products(model: nn.Module) -> None:
    """From now on the convolutions of `model` are trained so, wherever it pays, on a CPU in bf16.

    Their classes are changed in place, as torch's own parametrizations are; names, weights and answers stay.
    """
    for module in model.modules():
        kind = type(module)
        known = (kind.__module__, kind.__name__) in KINDS and not isinstance(module, _ByProduct)
        if known and module.kernel_size != (1, 1) and min(module.weight.shape[:2]) >= CHANNELS:
            module.__class__ = type(kind.__name__, (_ByProduct, kind), {"__module__": kind.__module__})


class _ByProduct(nn.Module):
    """A convolution whose call of ``conv2d`` is :class:`_Conv2d`'s."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _SmallMaps():
            return super().forward(*args, **kwargs)


class _SmallMaps(TorchFunctionMode):
    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is torch.conv2d and torch.is_grad_enabled() and (call := _suited(*args, **(kwargs or {}))):
            return _Conv2d.apply(*call)
        return function(*args, **(kwargs or {}))


def _suited(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> tuple | None:  # fmt: skip
    """What to call :class:`_Conv2d` with, in bf16; None where the convolution stays as it is."""
    stride, padding, dilation = (_pair(size) for size in (stride, padding, dilation))
    x, autocast = input, torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    in_bf16 = x.device.type == "cpu" and autocast == torch.bfloat16 and x.dtype in (torch.float32, torch.bfloat16)
    fits = in_bf16 and x.dim() == 4 and weight.requires_grad and groups == 1 and dilation == (1, 1)
    if not fits or None in (stride, padding):
        return None
    height, width = ((x.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in (0, 1))
    patches = 2 * len(x) * height * width * weight[0].numel()
    if not 0 < height * width <= POSITIONS or patches > PATCHES:
        return None
    bias = None if bias is None else bias.bfloat16()
    return x.bfloat16(), weight.bfloat16(), bias, stride, padding, (height, width)


def _pair(size: Any) -> tuple[int, int] | None:
    """As torch takes it: one number for both sides, or one for each; None for ``"same"`` and ``"valid"``."""
    if isinstance(size, str):
        return None
    return (size, size) if isinstance(size, int) else (*size,) * (2 // len(size))


class _Conv2d(torch.autograd.Function):
    """``conv2d`` of bf16 (N, C, H, W) and (O, C, K, L) without groups and dilation."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int],
        size: tuple[int, int],
    ) -> Tensor:  # fmt: skip
        # The answer of a product lies channels-last, so only what comes so is given so.
        small = math.prod(size) <= ALL_POSITIONS and x.is_contiguous(memory_format=torch.channels_last)
        patches = patches_of(x, weight.shape[2:], stride, padding, size) if small else None
        ctx.save_for_backward(x, weight, patches)
        ctx.sizes = stride, padding, size, None if bias is None else list(bias.shape)
        if patches is None:
            return F.conv2d(x, weight, bias, stride, padding)
        rows = F.linear(patches, weight.permute(0, 2, 3, 1).flatten(1), bias)
        return rows.view(len(x), *size, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, patches = ctx.saved_tensors
        stride, padding, size, bias = ctx.sizes
        by_product = patches is not None and stride == (1, 1) and len(x) >= BATCH and _fits_back(weight, padding)
        of_x, _, of_bias = torch.ops.aten.convolution_backward(
            gradient, x, weight, bias, stride, padding, (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0] and not by_product, False, ctx.needs_input_grad[2]),
        )  # fmt: skip
        if by_product and ctx.needs_input_grad[0]:
            of_x = input_gradient(gradient, weight, padding, x.shape[2:])
        if patches is None:
            patches = patches_of(x, weight.shape[2:], stride, padding, size)
        return of_x, weight_gradient(patches, gradient, weight.shape[2:]), of_bias, None, None, None


def _fits_back(weight: Tensor, padding: tuple[int, int]) -> bool:
    """Whether the gradient of the input is a convolution of the output's, padded by what is not negative."""
    return all(side > pad for side, pad in zip(weight.shape[2:], padding, strict=True))


def patches_of(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """What each output of a `kernel` sees of x (N, C, H, W): (N P Q, K L C), where `size` is (P, Q)."""
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1).flatten(2)
    across = kernel[1] * x.shape[1]  # the values of one row of a patch lie side by side
    windows = padded.unfold(2, across, stride[1] * x.shape[1])[:, :, : size[1]]
    return windows.unfold(1, kernel[0], stride[0])[:, : size[0]].transpose(3, 4).reshape(-1, kernel[0] * across)


def weight_gradient(patches: Tensor, gradient: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Of a convolution: the `patches` that its outputs saw and their `gradient` (N, O, P, Q) to (O, C, *kernel)."""
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
    return (rows.t() @ patches).view(gradient.shape[1], *kernel, -1).permute(0, 3, 1, 2)


def input_gradient(gradient: Tensor, weight: Tensor, padding: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Of a convolution of stride 1: `gradient` of its output (N, O, P, Q) to (N, C, H, W), where `size` is (H, W).

    It is the convolution of that gradient with the kernels turned by half a circle.
    """
    kernel = weight.shape[2:]
    around = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
    turned = weight.flip(2, 3).permute(1, 2, 3, 0).flatten(1)
    rows = patches_of(gradient, kernel, (1, 1), around, size) @ turned.t()
    return rows.view(len(gradient), *size, -1).permute(0, 3, 1, 2)
