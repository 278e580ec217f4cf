"""Norms over the channels of one pixel that timm's layer does not serve in half precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.norms.stats import mean_square, per_channel


class RmsNorm2d(nn.Module):
    """``x / sqrt(mean over channels of x^2 + eps) * weight`` at every pixel: no mean is subtracted, no bias is added.

    (N, C, H, W) -> same shape, dtype and memory layout. ``timm.layers.RmsNorm2d`` is the same function but squares in
    the input's dtype, which overflows in float16 from 256 on.
    Paper: Zhang, Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(mean_square(x, (1,)) + self.eps)
        return (x * scale * per_channel(self.weight, x)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}"
