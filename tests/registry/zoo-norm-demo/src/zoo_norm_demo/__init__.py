"""The norm demo, for zoo: switchable normalisation."""

import torch
from torch import nn


class Demo(nn.Module):
    """Mean and variance are a learned mix of an image's channel's, an image's and a batch's
    channel's.

    Takes (N, num_channels, H, W) and gives the same shape and dtype. In eval mode the batch's part
    is a running average. Paper: Luo et al., "Differentiable Learning-to-Normalize via Switchable
    Normalization", arXiv:1806.10779.
    """

    def __init__(self, num_channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        # Logits of the shares: image and channel, image, batch.
        self.mean_shares = nn.Parameter(torch.zeros(3))
        self.variance_shares = nn.Parameter(torch.zeros(3))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_variance", torch.ones(num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = x if x.dtype == torch.float64 else x.float()  # sums in bfloat16 lose digits
        mean = values.mean((2, 3), keepdim=True)
        variance = (values - mean).square().mean((2, 3), keepdim=True)
        means, variances = [mean], [variance]
        for over in (1, 0) if self.training else (1,):
            wide = mean.mean(over, keepdim=True)
            means.append(wide)
            # The variance of all values is that within the parts and that of their means.
            variances.append((variance + (mean - wide).square()).mean(over, keepdim=True))
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(means[2].flatten().to(self.running_mean), self.momentum)
                self.running_variance.lerp_(
                    variances[2].flatten().to(self.running_variance), self.momentum
                )
        else:
            means.append(self.running_mean.to(values).view(1, -1, 1, 1))
            variances.append(self.running_variance.to(values).view(1, -1, 1, 1))
        center = sum(share * m for share, m in zip(self.mean_shares.softmax(0), means, strict=True))
        spread = sum(
            share * v for share, v in zip(self.variance_shares.softmax(0), variances, strict=True)
        )
        normal = (values - center) * torch.rsqrt(spread + self.eps)
        y = normal * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y.to(x.dtype)
