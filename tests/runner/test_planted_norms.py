"""Fifteen planted bugs of norms, and what the trial of `zoo bench` says to each: those that change an accuracy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from strangers import inputs, stranger

from zoo.errors import RegistryError
from zoo.registry.merge import load_registry
from zoo.runner.checks import try_on

SOUND = """
    class Sound(nn.Module):
        def __init__(self, num_channels):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(num_channels)), nn.Parameter(torch.zeros(num_channels))
        def forward(self, x):
            return torch.nn.functional.group_norm(x, 1, self.weight, self.bias).to(x.dtype)
"""


def forward(line: str, init: str = "pass", base: str = "Sound") -> str:
    """A norm `mine` whose forward pass is that line."""
    return f"""
    class mine({base}):
        def __init__(self, num_channels):
            super().__init__(num_channels)
            {init}
        def forward(self, x):
            {line}
    """


# They change no accuracy on this machine: zoo.testing finds them.
PASSES = {
    "device hard-coded": forward("return super().forward(x) * torch.ones(1, device='cpu')"),
    "dtype hard-coded": forward("return super().forward(x.float()).float()"),
}


def averages(init: str) -> str:
    return forward(
        "mean = x.mean((0, 2, 3)) if self.training else self.mean; "
        "self.mean = 0.9 * self.mean + 0.1 * mean.detach() if self.training else self.mean; "
        "return super().forward(x - mean.view(1, -1, 1, 1))",
        init,
    )


def conv(line: str, init: str = "super().__init__(*sizes, **options)") -> str:
    return (
        forward("return super().forward(x)")
        + f"""
    class own_conv(nn.Conv2d):
        def __init__(self, *sizes, **options):
            {init}
        def forward(self, x):
            {line}
    """
    )


FUNCTION = """
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x * weight
        @staticmethod
        def backward(ctx, gradient):
            x, weight = ctx.saved_tensors
            return gradient * weight * {of_x}, (gradient * x).sum((0, 2, 3), keepdim=True) * {of_weight}
"""
# A skip beside the norm, as in a transformer: all parameters get a gradient.
PRE_NORM = """
    class net(Net):
        def forward(self, x):
            y = self.conv1(x)
            return self.fc(self.conv2(y + self.norm1(y)).mean((2, 3)))
"""
SCALE = "self.scale = nn.Parameter(torch.ones(1, num_channels, 1, 1))"
DIFFERS = "computes another function in evaluation than in training"
NO_GRADIENT = "passes no gradient to what is before it"
LEAK = "in evaluation the prediction for an image depends on the other images of the batch"
NOT_STORED = "a fresh model with its stored weights predicts otherwise"
REFUSED = {
    "batch leak": (forward("return super().forward(x) + 0.01 * x.mean((0, 2, 3), keepdim=True)"), LEAK),
    "leak through a buffer": (
        forward(
            "y = super().forward(x) + 0.01 * self.last.view(1, -1, 1, 1); "
            "self.last.copy_(x.detach().mean((0, 2, 3))); return y",
            "self.register_buffer('last', torch.zeros(num_channels))",
        ),
        "in evaluation its output for the same images differs the second time",
    ),
    "no gradient": (
        forward("return super().forward(x.detach())"),
        "no gradient reaches 'weight' of its 2 layers Conv2d",
    ),
    "no gradient, beside a skip": (PRE_NORM + forward("return super().forward(x.detach())"), NO_GRADIENT),
    "no gradient, by rounding": (forward("return super().forward(x).round()"), NO_GRADIENT),
    "no gradient, by its own backward pass": (
        FUNCTION.format(of_x=0, of_weight=1) + forward("return Own.apply(super().forward(x), self.scale)", SCALE),
        NO_GRADIENT,
    ),
    "no gradient of a parameter": (
        forward("return super().forward(x) * self.scale.item()", "self.scale = nn.Parameter(torch.ones(()))"),
        "no gradient reaches 'scale' of its 2 layers mine",
    ),
    "zero gradient of a parameter": (
        FUNCTION.format(of_x=1, of_weight=0) + forward("return Own.apply(super().forward(x), self.scale)", SCALE),
        "depends on its parameter 'scale' but passes it no gradient",
    ),
    "dead parameter": (forward("return super().forward(x)", SCALE), "no gradient reaches 'scale' of its 2 layers mine"),
    "dead parameter, with a gradient of zeros": (
        forward("return super().forward(x) + 0 * self.scale", SCALE),
        "has a parameter 'scale' that changes no output",
    ),
    "NaN in bf16": (
        forward("return super().forward((x.square() * 1e30 * 1e9).to(x.dtype))"),
        "in the first training step (bf16) its loss is nan",
    ),
    "evaluation differs from training": (
        forward("return super().forward(x) * (1 if self.training else 1.1)"),
        DIFFERS,
    ),
    "evaluation differs from training, with running statistics": (
        forward(
            "return super().forward(x) if self.training else nn.functional.batch_norm("
            "x, self.running_mean, self.running_var.square(), self.weight, self.bias)",
            base="nn.BatchNorm2d",
        ),
        DIFFERS,
    ),
    "evaluation differs from training, in a layer of layers": (
        """
    class mine(nn.Module):
        def __init__(self, num_channels):
            super().__init__()
            self.layers = nn.Sequential(nn.BatchNorm2d(num_channels), nn.Dropout(0.5))
        def forward(self, x):
            return self.layers(x) if self.training else x
        """,
        DIFFERS,
    ),
    "evaluation differs from training, in the network": (
        forward("return super().forward(x)")
        + """
    class net(Net):
        def forward(self, x):
            return super().forward(x) if self.training else super().forward(x).softmax(1)
        """,
        DIFFERS,
    ),
    "state in a plain attribute": (averages("self.mean = torch.zeros(num_channels)"), NOT_STORED),
    "state in a non-persistent buffer": (
        averages("self.register_buffer('mean', torch.zeros(num_channels), persistent=False)"),
        NOT_STORED,
    ),
    "state in a Python counter": (
        forward("self.steps += self.training; return super().forward(x) * (1 + 0.1 * self.steps)", "self.steps = 0"),
        "norm1.steps is not",
    ),
    "fails in channels-last": (
        forward("return super().forward(x.view(x.shape[0], -1).view(x.shape))"),
        "is trained in NCHW, since it fails in the first training step",
    ),
    "input overwritten": (
        forward("y = super().forward(x); x.detach().mul_(0.5); return y"),
        "fails in the first training step on images of shape (3, 8, 8) (fp32, NCHW): RuntimeError: one of the",
    ),
    "wrong custom backward": (
        FUNCTION.format(of_x=1.01, of_weight=1) + forward("return Own.apply(super().forward(x), self.scale)", SCALE),
        "(mine) has a backward pass of its own, and the gradient of the images is not the slope of the output",
    ),
    "wrong custom backward of a parameter": (
        FUNCTION.format(of_x=1, of_weight=1.1) + forward("return Own.apply(super().forward(x), self.scale)", SCALE),
        "the gradient of scale is not the slope of the output",
    ),
    "broken conv: frozen": (
        conv("return nn.functional.conv2d(x, self.weight.detach(), None, self.stride, self.padding)"),
        "no gradient reaches 'weight' of its 2 layers own_conv",
    ),
    "broken conv: no stride": (
        conv("return nn.functional.conv2d(x, self.weight, None, 1, self.padding, self.dilation, self.groups)"),
        "own_conv: a convolution of 3x3, stride=2, padding=1 makes (2, 16, 9, 9)",
    ),
    "broken conv: has a bias": (
        conv("return super().forward(x)", "super().__init__(*sizes, **{**options, 'bias': True})"),
        "own_conv: a convolution of 3x3, padding=1 has a bias",
    ),
    "broken conv: other channels": (
        conv("return super().forward(x)", "super().__init__(*sizes, **{**options, 'groups': 1})"),
        "own_conv: a convolution of 3x3, padding=1, groups=4 reads other pixels or channels",
    ),
    "broken conv: of the batch": (conv("return super().forward(x - x.mean(0))"), "reads other pixels or channels"),
    "broken conv: changes its weight": (
        conv("self.weight.data.sub_(self.weight.data.mean()); return super().forward(x)"),
        "its forward pass changes the values of parameter",
    ),
}


def told(folder: Path, code: str, *overrides: str) -> str:
    """What the trial reports."""
    stranger(folder, SOUND + code, "mine")
    registry = folder / "registry.yaml"
    if "own_conv" in code:
        registry.write_text(
            re.sub('mine: "(.*):mine"', r'mine: {builder: "\1:mine", conv: "\1:own_conv"}', registry.read_text())
        )
    try:
        return " ".join(try_on(load_registry(folder=folder).resolve("net_mine"), inputs(*overrides), 16))
    except RegistryError as problem:
        return str(problem)


@pytest.mark.parametrize("bug", REFUSED)
def test_planted(tmp_path: Path, bug: str) -> None:
    code, words = REFUSED[bug]
    line = told(tmp_path, code, *["precision=bf16"] * ("bf16" in bug))
    assert words in line


@pytest.mark.parametrize("bug", PASSES)
def test_planted_without_effect_on_an_accuracy(tmp_path: Path, bug: str) -> None:
    assert told(tmp_path, PASSES[bug]) == ""
