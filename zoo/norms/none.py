"""No normalisation at all, and what a residual network needs to train without it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAffine(nn.Module):
    """``x * weight + bias`` per channel, with no statistics. (N, C, H, W) -> same shape and dtype.

    `zero`: whether the scale starts at 0 rather than 1.
    """

    def __init__(self, num_channels: int, zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_channels,), 0.0 if zero else 1.0))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        # BatchNorm's kernels with mean 0 and variance 1 are one pass each way; no other of torch's mixes dtypes in one.
        mean, variance = torch.zeros_like(self.weight), torch.ones_like(self.weight)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=0.0)

    def extra_repr(self) -> str:
        """What ``print(module)`` shows in brackets."""
        return f"{self.weight.numel()}"


def skip_init(num_channels: int, branch_end: bool = False) -> ChannelAffine:
    """A scale and bias per channel. At the end of a residual branch the scale starts at zero: blocks start as identity.

    The paper has one number where this has one per channel, so that it has the parameters of the norms beside it.
    Paper: De, Smith, "Batch Normalization Biases Residual Blocks Towards the Identity Function", arXiv:2002.10444.
    """
    return ChannelAffine(num_channels, zero=branch_end)
