"""EvoNorm-S0 and EvoNorm-B0, which normalise and activate in one layer.

timm has both, but computes in float32 whatever the input, needs the channels to be a multiple of the groups, and
drops the normalisation together with the activation. Here ``apply_act=False`` drops only the activation's part, so
that the end of a residual branch is still normalised.
Paper: Liu, Brock, Simonyan, Le, "Evolving Normalization-Activation Layers", arXiv:2004.02967.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.norms.evonorm_functions import B0, S0
from zoo.norms.group import largest_divisor


class _EvoNorm(nn.Module):
    """The parameters both share: scale, bias, and with `apply_act` the gate's `v`, each (C,)."""

    def __init__(self, num_channels: int, apply_act: bool, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.v = nn.Parameter(torch.ones(num_channels)) if apply_act else None

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, eps={self.eps}, apply_act={self.v is not None}"


class EvoNormS0(_EvoNorm):
    """``x * sigmoid(v * x) / sqrt(group variance + eps) * weight + bias``, statistics of one image.

    (N, C, H, W) -> same shape and dtype. Without `apply_act` the sigmoid is left out.
    `group_size`: channels per group, at most; the largest divisor of C counts. Raises
    :class:`~zoo.errors.RegistryError` where it is below 1.
    """

    def __init__(self, num_channels: int, group_size: int = 16, apply_act: bool = True, eps: float = 1e-5) -> None:
        super().__init__(num_channels, apply_act, eps)
        self.group_size = largest_divisor(num_channels, group_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        y: Tensor = S0.apply(x, self.weight, self.bias, self.v, self.group_size, self.eps)
        return y


class EvoNormB0(_EvoNorm):
    """``x / max(sqrt(batch variance + eps), v * x + sqrt(image variance + eps)) * weight + bias``.

    (N, C, H, W) -> same shape and dtype. Without `apply_act` the denominator is the batch's part alone; it also takes
    the gradient where both are equal. Evaluation uses ``running_var`` (unbiased, as BatchNorm's), updated with
    `momentum` for the new batch. Raises ValueError in training where a channel has a single value.
    """

    running_var: Tensor

    def __init__(self, num_channels: int, apply_act: bool = True, momentum: float = 0.1, eps: float = 1e-3) -> None:
        super().__init__(num_channels, apply_act, eps)
        self.momentum = momentum
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        count = x.numel() // x.shape[1]
        if self.training and count == 1:
            raise ValueError(f"expected more than 1 value per channel in training, got input of shape {tuple(x.shape)}")
        fixed = None if self.training else self.running_var
        y: Tensor
        y, variance = B0.apply(x, self.weight, self.bias, self.v, fixed, self.eps)
        if self.training:
            with torch.no_grad():
                unbiased = variance.flatten() * (count / (count - 1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return y
