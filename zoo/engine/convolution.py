"""Convolutions on small feature maps with images side by side, where a CPU's AMX kernels are slow at one by one.

oneDNN works along the rows of a map; rows of 8 and fewer leave most of each AMX tile empty, and the weights' gradient
suffers most. So up to 32 images are laid side by side, with columns of zeros between them at least as wide as the
padding, and convolved as one. The kernel is the same over long rows; the weights' gradient sums in another order. It
gains 1.46 times with AMX and nothing without (``pytest benchmarks -k small_maps``).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.engine.machine import instructions

POSITIONS = 64  # of the output map, at most: larger ones were not measured
CHANNELS = 128  # of input and output, at least: with fewer the copies cost what is won
SIDE_BY_SIDE = {4: 32, 8: 16}  # images, for an output of so many columns at most
FEWEST = 4  # images: fewer win nothing
CLASSES = {
    "torch.nn.modules.conv.Conv2d": "SideBySideConv2d",
    "timm.layers.std_conv.StdConv2d": "SideBySideStdConv2d",
}


def use_side_by_side(model: nn.Module, device: torch.device, precision: str, compiled: bool) -> None:
    """Convert the convolutions of `model` where training gains by it: in bf16 on a processor with AMX, not compiled."""
    if device.type == "cpu" and precision == "bf16" and not compiled and "amx_bf16" in instructions():
        convert(model)


def convert(model: nn.Module) -> None:
    """Give each convolution of `model` that may gain the class that lays images side by side; names and weights stay.

    Only classes that call ``conv2d`` once and hold `weight` as it is take part: torch's, and weight standardisation's.
    """
    for module in model.modules():
        name = CLASSES.get(f"{type(module).__module__}.{type(module).__name__}")
        if not name or not isinstance(module, nn.Conv2d) or module.kernel_size == (1, 1):
            continue
        if min(module.weight.shape[:2]) >= CHANNELS:
            module.__class__ = getattr(sys.modules[__name__], name)


class _SideBySide(nn.Module):
    """A convolution whose call of ``conv2d`` is :func:`conv2d_side_by_side` where it pays."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _SmallMaps():
            return super().forward(*args, **kwargs)


class SideBySideConv2d(_SideBySide, nn.Conv2d):
    """torch's convolution."""


def __getattr__(name: str) -> Any:
    """Define timm's when a model or pickle first asks for it: timm takes seconds to import."""
    if name != "SideBySideStdConv2d":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from timm.layers.std_conv import StdConv2d

    kind = type(name, (_SideBySide, StdConv2d), {"__module__": __name__, "__doc__": "Weight standardisation's."})
    return globals().setdefault(name, kind)


class _SmallMaps(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answers = None
        if function is torch.conv2d and torch.is_grad_enabled():
            answers = _where_it_pays(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {})) if answers is None else answers


def _where_it_pays(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    """``conv2d`` with images side by side; None where it stays torch's."""
    if isinstance(padding, str) or groups != 1 or _pair(dilation) != (1, 1) or input.dim() != 4:
        return None
    stride, padding = _pair(stride), _pair(padding)
    in_bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    fits = in_bf16 and input.device.type == "cpu" and input.dtype in (torch.float32, torch.bfloat16)
    # What is laid side by side lies channels-last, so only what comes so is taken.
    if not fits or not input.is_contiguous(memory_format=torch.channels_last):
        return None
    height, width = ((input.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in (0, 1))
    images = next((images for columns, images in SIDE_BY_SIDE.items() if width <= columns), 0)
    full = images and len(input) and height > 0 and 0 < height * width <= POSITIONS
    count = math.gcd(len(input), images) if full else 0
    # A 3x3 kernel padded by 1, and the like: there are as many answers as strides from one image to the next.
    if count < FEWEST or not 2 * padding[1] < weight.shape[3] <= 2 * padding[1] + stride[1]:
        return None
    return conv2d_side_by_side(input.bfloat16(), weight, bias, stride, padding, count)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    """As torch takes it: one number for both sides, or one for each."""
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return sizes[0], sizes[-1]


def conv2d_side_by_side(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int], count: int
) -> Tensor:
    """``conv2d`` of (N, C, H, W), `count` images at a time; N is a multiple of `count`."""
    columns = x.shape[3]
    width = (columns + 2 * padding[1] - weight.shape[3]) // stride[1] + 1
    # From one image to the next, in strides, so that no kernel sees two of them.
    pitch = -(-(columns + padding[1]) // stride[1])
    rows = torch.unflatten(x.permute(0, 2, 3, 1), 0, (-1, count)).transpose(1, 2)  # N / count, H, count, W, C
    joined = F.pad(rows, (0, 0, 0, pitch * stride[1] - columns)).flatten(2, 3).permute(0, 3, 1, 2)
    answers = F.conv2d(joined, weight, bias, stride, padding)  # (N / count, O, P, count * pitch)
    rows = torch.unflatten(answers.permute(0, 2, 3, 1), 2, (count, pitch))[:, :, :, :width]
    return rows.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)
