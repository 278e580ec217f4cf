"""Convolutions on small feature maps with images side by side, where a CPU's bf16 kernels are slow at one by one.

oneDNN works along the rows of a map; rows of 8 and fewer leave most of each tile of a processor with bf16 empty, and
the weights' gradient suffers most. So up to 32 images are laid side by side, with columns of zeros between them at
least as wide as the padding, and convolved as one: the same kernel over long rows, the weights' gradient summed in
another order (``pytest benchmarks -k small_maps``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

POSITIONS = 64  # of the output map, at most: larger ones were not measured
CHANNELS = 128  # of input and output, at least: with fewer the copies cost what is won
SIDE_BY_SIDE = {4: 32, 8: 16}  # images, for an output of so many columns at most
FEWEST = 4  # images: fewer win nothing
# Classes that are known to call ``conv2d`` once and to hold `weight` as it is: torch's, and weight standardisation's.
KINDS = (("torch.nn.modules.conv", "Conv2d"), ("timm.layers.std_conv", "StdConv2d"))


def use_wide_maps(model: nn.Module) -> None:
    """From now on the convolutions of `model` are trained so, wherever it pays, on a CPU in bf16.

    Their classes are changed in place, as torch's own parametrizations are; names, weights and answers stay.
    """
    for module in model.modules():
        kind = type(module)
        known = (kind.__module__, kind.__name__) in KINDS and not isinstance(module, _OnWideMaps)
        if known and module.kernel_size != (1, 1) and min(module.weight.shape[:2]) >= CHANNELS:
            module.__class__ = type(kind.__name__, (_OnWideMaps, kind), {"__module__": kind.__module__})


class _OnWideMaps(nn.Module):
    """A convolution whose call of ``conv2d`` is :func:`conv2d_side_by_side` where it pays."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _SmallMaps():
            return super().forward(*args, **kwargs)


class _SmallMaps(TorchFunctionMode):
    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is torch.conv2d and torch.is_grad_enabled() and (call := _suited(*args, **(kwargs or {}))):
            return conv2d_side_by_side(*call)
        return function(*args, **(kwargs or {}))


def _suited(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> tuple | None:  # fmt: skip
    """What to call :func:`conv2d_side_by_side` with; None where the convolution stays as it is."""
    stride, padding, dilation = (_pair(size) for size in (stride, padding, dilation))
    x, autocast = input, torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    in_bf16 = x.device.type == "cpu" and autocast == torch.bfloat16 and x.dtype in (torch.float32, torch.bfloat16)
    fits = in_bf16 and x.dim() == 4 and groups == 1 and dilation == (1, 1) and None not in (stride, padding)
    # What is laid side by side lies channels-last, so only what comes so is taken.
    if not fits or not x.is_contiguous(memory_format=torch.channels_last):
        return None
    height, width = ((x.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in (0, 1))
    images = next((images for columns, images in SIDE_BY_SIDE.items() if width <= columns), 0)
    count = math.gcd(len(x), images) if images and len(x) and height > 0 and 0 < height * width <= POSITIONS else 0
    # A 3x3 kernel padded by 1, and the like: there are as many answers as strides from one image to the next.
    if count < FEWEST or not 2 * padding[1] < weight.shape[3] <= 2 * padding[1] + stride[1]:
        return None
    return x.bfloat16(), weight, bias, stride, padding, count


def _pair(size: Any) -> tuple[int, int] | None:
    """As torch takes it: one number for both sides, or one for each; None for ``"same"`` and ``"valid"``."""
    if isinstance(size, str):
        return None
    return (size, size) if isinstance(size, int) else (*size,) * (2 // len(size))


def pitch_of(width: int, stride: int, padding: int) -> int:
    """Columns from one image to the next: what no kernel sees two images from, in whole strides."""
    return -(-(width + padding) // stride) * stride


def conv2d_side_by_side(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int], count: int
) -> Tensor:
    """``conv2d`` of (N, C, H, W), `count` images at a time; N is a multiple of `count`."""
    pitch = pitch_of(x.shape[3], stride[1], padding[1])
    width = (x.shape[3] + 2 * padding[1] - weight.shape[3]) // stride[1] + 1
    answers = F.conv2d(_joined(x, count, pitch), weight, bias, stride, padding)
    return _parted(answers, count, pitch // stride[1], width)


def _joined(x: Tensor, count: int, pitch: int) -> Tensor:
    """(N, C, H, W) to (N / count, C, H, count * pitch), with zeros to the right of each image."""
    rows = x.permute(0, 2, 3, 1).unflatten(0, (-1, count)).transpose(1, 2)  # N / count, H, count, W, C
    return F.pad(rows, (0, 0, 0, pitch - x.shape[3])).flatten(2, 3).permute(0, 3, 1, 2)


def _parted(answers: Tensor, count: int, pitch: int, width: int) -> Tensor:
    """(N / count, O, P, count * pitch) to (N, O, P, width): what lies between the images is left out."""
    rows = answers.permute(0, 2, 3, 1).unflatten(2, (count, pitch))[:, :, :, :width]
    return rows.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)
