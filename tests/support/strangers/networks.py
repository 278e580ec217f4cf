"""Small networks with the habits of published code. Written for these tests; each line of registry.yaml brings one."""

from __future__ import annotations

import functools
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """Named as zoo names them."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


class Viewed(nn.Module):
    """No argument at all, and a `view` of a feature map, which fails in channels-last."""

    def __init__(self):
        super(Viewed, self).__init__()  # noqa: UP008
        self.conv = nn.Conv2d(3, 8, 3, 4, 1)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 8 * 8, 10)

    def forward(self, x):
        out = F.relu(self.bn(self.conv(x)))
        out = out.view(out.size(0), -1)
        return self.fc(out)


class Block(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x):
        return F.relu(self.bn1(self.conv1(x)) + self.shortcut(x), inplace=True)


class Residual(nn.Module):
    """A list of blocks and a class, positional and without defaults; functional ReLU, in place."""

    def __init__(self, block, num_blocks, num_classes=10):
        super().__init__()
        self.in_planes = 8
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.layers = nn.Sequential(*(self._make(block, 8 * 2**i, count, i + 1) for i, count in enumerate(num_blocks)))
        self.linear = nn.Linear(self.in_planes * block.expansion, num_classes)

    def _make(self, block, planes, num_blocks, stride):
        layers = []
        for step in [stride] + [1] * (num_blocks - 1):
            layers.append(block(self.in_planes, planes, step))
            self.in_planes = planes * block.expansion
        return nn.Sequential(*layers)

    def forward(self, x):
        out = F.avg_pool2d(self.layers(F.relu(self.conv1(x))), 8)
        return self.linear(out.view(out.size(0), -1))


def residual():
    return Residual(Block, [1, 1])


def residual_class_num(class_num=100):
    return Residual(Block, [1, 1], class_num)


def residual_of(blocks, n_classes):
    return Residual(Block, blocks, n_classes)


def pretrained_style(pretrained=False, progress=True, **kwargs):
    """torchvision's habit: whatever else is asked for goes to the class."""
    return Residual(Block, [1, 1], **kwargs)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@decorated
def behind_a_decorator(num_classes):
    return Residual(Block, [1, 1], num_classes)


class Tuples(nn.Module):
    """Wants tuples and breaks on lists."""

    def __init__(self, size: tuple[int, int], cfg=((8, 1), (8, 2)), nclass: int = 10, pools=None):
        super().__init__()
        {size: cfg}  # only what is hashable  # noqa: B018
        layers, channels = [], 3
        for planes, stride in cfg:
            layers += [nn.Conv2d(channels, planes, size, stride, 1), nn.BatchNorm2d(planes), nn.ReLU()]
            channels = planes
        self.features = nn.Sequential(*layers)
        self.pools = hash(pools)
        self.fc = nn.Linear(channels, nclass)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class Scripted(nn.Module):
    """A part compiled by torch.jit.script."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.body = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.ReLU()))
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class StochasticDepth(nn.Module):
    """Skips a block by Python's generator."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = Block(3, 8, 4)
        self.block = Block(8, 8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.stem(x)
        if not self.training or random.random() < 0.8:
            x = self.block(x)
        return self.fc(x.mean((2, 3)))


class NumpyInit(nn.Module):
    """Initial weights by numpy's generator."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 4)
        self.conv.weight.data = torch.from_numpy(np.random.normal(0, 0.1, (8, 3, 3, 3))).float()  # noqa: NPY002
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


class Auxiliary(nn.Module):
    """In training a second head's logits beside the first's, like GoogLeNet."""

    def __init__(self, num_classes=10, aux_logits=True):
        super().__init__()
        self.stem = Block(3, 8, 4)
        self.fc, self.aux = nn.Linear(8, num_classes), nn.Linear(8, num_classes)
        self.aux_logits = aux_logits

    def forward(self, x):
        x = self.stem(x).mean((2, 3))
        return (self.fc(x), self.aux(x)) if self.training and self.aux_logits else self.fc(x)


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class DataclassOutput(nn.Module):
    def __init__(self, num_labels=2):
        super().__init__()
        self.stem, self.classifier = Block(3, 8, 4), nn.Linear(8, num_labels)

    def forward(self, pixel_values):
        hidden = self.stem(pixel_values).mean((2, 3))
        return Output(self.classifier(hidden), hidden)


class Shared(nn.Module):
    """One convolution and one norm at several places."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.again = self.norm
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.stem(x)
        for norm in (self.norm, self.again):
            x = F.relu(norm(self.conv(x)))
        return self.fc(x.mean((2, 3)))


def sequential(n_outputs):
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(3, 8, 3, 4), norm=nn.BatchNorm2d(8), act=nn.ReLU(True), pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(), fc=nn.Linear(8, n_outputs),
    ))  # fmt: skip


class Channels(nn.Module):
    """`in_channels` is the width of its stem, not the number of colours."""

    def __init__(self, in_channels=16, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, in_channels, 3, 4)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x):
        return self.fc(self.stem(x).mean((2, 3)))


class KeywordOnly(nn.Module):
    def __init__(self, *, width=8, classes):
        super().__init__()
        self.stem, self.fc = Block(3, width, 4), nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.stem(x).mean((2, 3)))


class Options(NamedTuple):
    width: int = 8


class Configured(nn.Module):
    """Takes one object with all settings; whoever brings it writes a function."""

    def __init__(self, args):
        super().__init__()
        self.stem, self.fc = Block(3, args.width, 4), nn.Linear(args.width, 10)

    def forward(self, x):
        return self.fc(self.stem(x).mean((2, 3)))


def configured():
    return Configured(Options())


class Softmax(Plain):
    """Gives log-probabilities, as with NLLLoss."""

    def forward(self, x):
        return F.log_softmax(super().forward(x), dim=1)


class Flexible(nn.Module):
    """Swallows what it does not know, the number of classes too."""

    def __init__(self, width=8, **kwargs):
        super().__init__()
        self.stem, self.fc = Block(3, width, 4), nn.Linear(width, 100)

    def forward(self, x):
        return self.fc(self.stem(x).mean((2, 3)))


def prints_and_returns_two(num_classes=10):
    """A model with its weights' path, like some hubs."""
    print("building")
    return Plain(num_classes), "weights.pth"
