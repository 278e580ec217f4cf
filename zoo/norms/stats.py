"""Arithmetic shared by the norms that torch has no kernel for.

Their backward passes are written out in ``torch.autograd.Function``s: autograd's own would keep several float32 copies
of the activations, and the derivatives of ``vector_norm`` and ``maximum`` fill masks, which costs more on a CPU than
all the arithmetic. Here the input is kept as it came and widened once per pass; everything after that is done in place
in the wide dtype, since one operation that mixes dtypes is slower on a CPU than a conversion and one that does not.
``pytest benchmarks -k no_norm`` measures it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 2**20  # values worked on at once on a CPU: 4 MiB in float32; fewer would spend their time in waking threads


def statistics_dtype(x: Tensor) -> torch.dtype:
    """float32 for half precision input, whose squares overflow or lose their digits; else the input's own."""
    return torch.promote_types(x.dtype, torch.float32)


def wide(x: Tensor) -> Tensor:
    """`x` in the dtype of its statistics: `x` itself where that is its dtype, so not to be written to."""
    return x.to(statistics_dtype(x))


def wide_for(result: Tensor) -> Tensor:
    """Room for `result` in the dtype of its statistics: `result` itself where it has that dtype.

    ``result.copy_(...)`` of it at the end rounds, or does nothing.
    """
    return result if result.dtype == statistics_dtype(result) else torch.empty_like(result, dtype=torch.float32)


def image_mean(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1), the mean over each image and channel."""
    return image_sum(x) / (x.shape[2] * x.shape[3])  # a quarter faster on a CPU than torch.mean


def image_sum(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1), the sum over each image and channel."""
    return x.sum((2, 3), keepdim=True)


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """A (C,) parameter of a norm on `x` as (1, C, 1, 1), in the dtype of the statistics of `x`."""
    return parameter.to(statistics_dtype(x)).view(1, -1, 1, 1)


def like_parameter(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient of a (C,) `parameter` from (N, C, 1, 1) or (1, C, 1, 1): summed over N, in the parameter's dtype."""
    return gradient.sum((0, 2, 3)).to(parameter.dtype)


def relu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Set `gradient` to 0 where `x` is not above 0, in place; far faster than torch.where."""
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)
    return gradient


def by_block(work: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """``work(*tensors)`` in blocks of images; what it returns, (N, ...) each, is joined again.

    All `tensors` are (N, ...), the first one the largest. Results of that size are not returned but written to one of
    them, so that nothing large is joined. On other devices than CPUs, and for a compiler, all is one block.
    """
    first = tensors[0]
    count = first.shape[0]
    if first.device.type != "cpu" or torch.compiler.is_compiling() or first.numel() <= BLOCK:
        return work(*tensors)
    blocks = min(count, -(-first.numel() // BLOCK))
    parts = zip(*(tensor.chunk(blocks) for tensor in tensors), strict=True)
    return tuple(torch.cat(results) for results in zip(*(work(*part) for part in parts), strict=True))
