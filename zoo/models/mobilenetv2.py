"""MobileNetV2 with the strides of the stem and of the second stage taken out, as is usual at 32x32."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.builder.norm import Norm
from zoo.models.common import global_mean, he_init


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection: (N, C_in, H, W) -> (N, C_out, H / stride, W / stride).

    The input is added where the shape allows it. At `expand` 1 the first convolution is left out.
    """

    def __init__(self, norm: Norm, in_channels: int, channels: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = in_channels * expand
        self.residual = stride == 1 and in_channels == channels
        self.expand = nn.Identity() if expand == 1 else _conv_norm_act(norm, in_channels, hidden, 1)
        self.depthwise = _conv_norm_act(norm, hidden, hidden, 3, stride=stride, groups=hidden)
        self.conv3 = norm.conv2d(hidden, channels, 1, padding=0)
        # A zero scale (SkipInit) is right only where there is a shortcut beside the branch.
        self.norm3 = norm(channels, apply_act=False, branch_end=self.residual)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out: Tensor = self.norm3(self.conv3(self.depthwise(self.expand(x))))
        return out + x if self.residual else out


def _conv_norm_act(
    norm: Norm, in_channels: int, channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, norm and ReLU6; half padding."""
    return nn.Sequential(
        norm.conv2d(in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups),
        norm(channels),
        norm.act(nn.ReLU6),
    )


# expansion, channels, blocks, stride of the first: the paper's table 2 but for the second row's stride, 2 there.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(nn.Module):
    """Stem, ``layer1`` to ``layer7`` (32x32 to 4x4), 1x1 to 1280 channels, mean over the image, linear classifier."""

    def __init__(self, norm: Norm, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = _conv_norm_act(norm, in_channels, 32, 3)
        width, stages = 32, []
        for expand, channels, count, stride in STAGES:
            blocks = [InvertedResidual(norm, width, channels, stride, expand)]
            blocks += [InvertedResidual(norm, channels, channels, 1, expand) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            width = channels
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6, self.layer7 = stages
        self.head = _conv_norm_act(norm, width, 1280, 1)
        self.fc = nn.Linear(1280, num_classes)
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, num_classes) logits."""
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        x = self.layer7(self.layer6(self.layer5(self.layer4(x))))
        x = self.fc(global_mean(self.head(x)))
        return x


def mobilenetv2(norm: Norm, num_classes: int = 10, in_channels: int = 3) -> MobileNetV2:
    """MobileNetV2 of width 1, without dropout. (N, in_channels, H, W) -> (N, num_classes).

    Paper: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381.
    """
    return MobileNetV2(norm, num_classes, in_channels)
