"""The gradient of a convolution's weights as one matrix product, where a CPU's bf16 kernels are slow at it.

oneDNN takes up to five times as long for the weights' gradient on small feature maps (8x8, 4x4) as a product of the
same size takes on a processor with bf16 (``pytest benchmarks -k weight_gradient``). The sum is the same, over the
same bf16 values, in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

POSITIONS = 64  # of the output map, at most: above it the copies of the patches cost more than is won
CHANNELS = 128  # of input and output, at least: products of thinner matrices win nothing
PATCHES = 2**28  # bytes that the patches of a batch take, at most
# Classes that are known to call ``conv2d`` once and to hold `weight` as it is: torch's, and weight standardisation's.
KINDS = (("torch.nn.modules.conv", "Conv2d"), ("timm.layers.std_conv", "StdConv2d"))


def use_products(model: nn.Module) -> None:
    """From now on the convolutions of `model` compute their weights' gradient so, wherever it pays, on a CPU in bf16.

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
    return x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16(), stride, padding


def _pair(size: Any) -> tuple[int, int] | None:
    """As torch takes it: one number for both sides, or one for each; None for ``"same"`` and ``"valid"``."""
    if isinstance(size, str):
        return None
    return (size, size) if isinstance(size, int) else (*size,) * (2 // len(size))


class _Conv2d(torch.autograd.Function):
    """``conv2d`` of bf16 (N, C, H, W) and (O, C, K, L) without groups and dilation."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sizes = stride, padding, None if bias is None else list(bias.shape)
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, bias = ctx.sizes
        of_x, _, of_bias = torch.ops.aten.convolution_backward(
            gradient, x, weight, bias, stride, padding, (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0], False, ctx.needs_input_grad[2]),
        )  # fmt: skip
        return of_x, weight_gradient(x, gradient, weight.shape[2:], stride, padding), of_bias, None, None


def weight_gradient(
    x: Tensor, gradient: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Of ``conv2d(x, weight)``: x (N, C, H, W), `gradient` of its output (N, O, P, Q), to (O, C, *kernel), bf16.

    It is the product of the gradient, (O, N P Q), and the patches that each output saw, (N P Q, K L C).
    """
    height, width = gradient.shape[2:]
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1).flatten(2)
    across = kernel[1] * x.shape[1]  # the values of one row of a patch lie side by side
    patches = padded.unfold(2, across, stride[1] * x.shape[1])[:, :, :width].unfold(1, kernel[0], stride[0])[:, :height]
    patches = patches.transpose(3, 4).reshape(-1, kernel[0] * across)
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
    return (rows.t() @ patches).view(-1, *kernel, x.shape[1]).permute(0, 3, 1, 2)
