"""Filter response normalisation with its thresholded linear unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.norms.stats import mean_square, per_channel


class FilterResponseNorm(nn.Module):
    """``max(x / sqrt(mean over H, W of x^2 + eps) * weight + bias, tau)`` per image and channel.

    (N, C, H, W) -> same shape and dtype. Without `apply_act` there is no threshold `tau`; the rest stays. timm's
    ``FilterResponseNormTlu2d`` is the same function but squares in the input's dtype and is never float64 inside.
    Paper: Singh, Krishnan, "Filter Response Normalization Layer", arXiv:1911.09737 (epsilon fixed at 1e-6).
    """

    def __init__(self, num_channels: int, apply_act: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.tau = nn.Parameter(torch.zeros(num_channels)) if apply_act else None

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(mean_square(x, (2, 3)) + self.eps)
        y = torch.addcmul(per_channel(self.bias, x), x, scale * per_channel(self.weight, x))
        if self.tau is not None:
            y = torch.maximum(y, per_channel(self.tau, x))
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}, apply_act={self.tau is not None}"
