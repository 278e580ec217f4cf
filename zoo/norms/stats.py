"""Arithmetic shared by the norms that torch has no kernel for.

Their backward passes are written out in ``torch.autograd.Function``s. Autograd's own would keep several float32 copies
of the activations, and the derivatives of ``vector_norm`` and ``maximum`` fill masks, which on a CPU costs more than
all the arithmetic. Here the input is kept as it came, widened once per pass, and everything after that is done in
place in the wide dtype: on a CPU, mixing dtypes in one operation is slower than converting, and so is bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor

IMAGE = (2, 3)
EVERY_PIXEL = (0, 2, 3)


def statistics_dtype(x: Tensor) -> torch.dtype:
    """float32 for half precision input, whose squares overflow or lose their digits; else the input's own."""
    return torch.promote_types(x.dtype, torch.float32)


def wide(x: Tensor) -> Tensor:
    """`x` in the dtype of its statistics: `x` itself where that is its dtype, so not to be written to."""
    return x.to(statistics_dtype(x))


def wide_copy(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient` in the memory layout and statistics dtype of `x`, always a copy, to be written to."""
    return torch.empty_like(x, dtype=statistics_dtype(x)).copy_(gradient)


def image_mean(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1), the mean over each image and channel."""
    return x.mean(IMAGE, keepdim=True)


def image_sum(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1), the sum over each image and channel."""
    return x.sum(IMAGE, keepdim=True)


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """A (C,) parameter of a norm on `x` as (1, C, 1, 1), in the dtype of the statistics of `x`."""
    return parameter.to(statistics_dtype(x)).view(1, -1, 1, 1)


def like_parameter(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient of a (C,) `parameter` from (N, C, 1, 1) or (1, C, 1, 1): summed over N, in the parameter's dtype."""
    return gradient.sum((0, 2, 3)).to(parameter.dtype)


def where_positive(gradient: Tensor, x: Tensor) -> Tensor:
    """`gradient` where `x` is above 0, else 0: ReLU's backward pass, much faster here than torch.where."""
    return torch.ops.aten.threshold_backward(gradient, x, 0)
