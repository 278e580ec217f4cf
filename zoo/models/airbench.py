"""The network of airbench94: fixed whitening of 2x2 patches, three stages of convolutions without shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.common import choose
from zoo.models.patch_covariance import PATCH_COVARIANCE

WIDTHS = (1, 4, 4)  # of the stages, times `width`
EPS = 5e-4  # added to the variances, or what JPEG has all but removed would be blown up


class Whitening(nn.Conv2d):
    """2x2 convolution whose outputs are uncorrelated on natural images, of variance 1, each with its negative.

    (N, 3 or 1, H, W) -> (N, 24 or 8, H - 1, W - 1). The weights are fixed, the bias is trained. The patches' covariance
    is a constant of the data as the mean and deviation of its colours are: :mod:`zoo.models.patch_covariance`.
    """

    def __init__(self, in_channels: int) -> None:
        rgb = torch.tensor(PATCH_COVARIANCE, dtype=torch.float64)
        mean = torch.eye(4, dtype=torch.float64).repeat(1, 3) / 3  # from the 12 values of a patch to 4 of its grey
        covariance = choose({3: rgb, 1: mean @ rgb @ mean.T}, in_channels, "airbench: in_channels")
        super().__init__(in_channels, 2 * len(covariance), 2)
        variances, directions = torch.linalg.eigh(covariance)
        # LAPACK may answer with either sign of a direction; the largest component is made positive.
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        filters = (directions * largest.sign() / (variances + EPS).sqrt()).T.reshape(-1, in_channels, 2, 2)
        self.weight = nn.Parameter(torch.cat([filters, -filters]).float(), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(self.out_channels))


class ConvNormAct(nn.Module):
    """3x3 convolution that starts as the identity on its first channels, `pool` or not, norm, activation."""

    def __init__(self, norm: Norm, in_channels: int, channels: int, pool: bool = False) -> None:
        super().__init__()
        self.conv1 = norm.conv2d(in_channels, channels, 3, padding=1)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.norm1 = norm(channels)
        self.act1 = norm.act(nn.GELU)
        nn.init.dirac_(self.conv1.get_parameter("weight").data[:in_channels])

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, channels, H, W), half of each side where it pools."""
        x = self.act1(self.norm1(self.pool(self.conv1(x))))
        return x


class Airbench(nn.Module):
    """Whitening, ``layer1`` to ``layer3`` at about 1/2, 1/4 and 1/8 resolution, max over the image, classifier."""

    def __init__(
        self, norm: Norm, num_classes: int, in_channels: int, width: int, depths: Sequence[int], logit_scale: float
    ) -> None:
        super().__init__()
        self.logit_scale = logit_scale
        self.whiten = Whitening(in_channels)
        before, stages = self.whiten.out_channels, []
        for times, depth in zip(WIDTHS, depths, strict=True):
            channels = times * width
            stage = [ConvNormAct(norm, before, channels, pool=True)]
            stage += [ConvNormAct(norm, channels, channels) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*stage))
            before = channels
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(before, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.layer3(self.layer2(self.layer1(F.gelu(self.whiten(x)))))
        x = self.fc(F.max_pool2d(x, x.shape[2:]).flatten(1))
        return x * self.logit_scale


def airbench(
    norm: Norm,
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    width: int = 64,
    depths: Sequence[int] = (2, 2, 2),
    logit_scale: float = 1 / 9,
) -> Airbench:
    """airbench94, `width` channels in its first stage. (N, in_channels, H, W) -> (N, num_classes); H, W at least 16.

    `depths`: convolutions of each of the three stages; the source has two in each.
    Differs from the source in what only BatchNorm can have (no trained scale, biases with a learning rate of their
    own), and in that the whitening is of all training images, not of the first 5,000, its bias trained throughout.
    Raises :class:`~zoo.errors.RegistryError` where `in_channels` is neither 3 (RGB) nor 1 (grey, their mean),
    and where `depths` are not three whole numbers of 1 or more.
    Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498.
    """
    if len(depths) != len(WIDTHS) or not all(isinstance(depth, int) and depth >= 1 for depth in depths):
        raise RegistryError(f"airbench: depths {[*depths]} must be three whole numbers of 1 or more, such as [2, 2, 3]")
    return Airbench(norm, num_classes, in_channels, width, depths, logit_scale)
