"""Convolutions by matrix product: equal to the definition, taken only where they pay, invisible from outside."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.builder import build
from zoo.engine.convolution import BATCH, input_gradient, patches_of, use_products, weight_gradient
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.recipe_file import load_recipe
from zoo.registry import load_registry
from zoo.world import ALONE

CPU = torch.device("cpu")
CASES = [  # in, out, kernel, stride, padding, (height, width)
    (128, 160, (3, 3), (1, 1), (1, 1), (8, 8)),
    (128, 128, (3, 3), (2, 2), (1, 1), (15, 16)),
    (130, 128, (1, 1), (1, 1), (0, 0), (4, 4)),
    (128, 130, (1, 1), (2, 2), (0, 0), (7, 8)),
    (128, 128, (2, 3), (1, 2), (0, 2), (5, 9)),
    (128, 128, (5, 5), (3, 3), (2, 2), (20, 20)),
]


@pytest.mark.parametrize(("into", "out", "kernel", "stride", "padding", "size"), CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_definition(into, out, kernel, stride, padding, size, layout) -> None:
    """Against the gradient in float64 of the same bf16 values: only the rounding of the result to bf16 remains."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, into, *size, generator=generator).bfloat16().contiguous(memory_format=layout)
    weight = torch.zeros(out, into, *kernel, dtype=torch.float64, requires_grad=True)
    answer = F.conv2d(x.double(), weight, stride=stride, padding=padding)
    gradient = torch.randn(answer.shape, generator=generator).bfloat16().contiguous(memory_format=layout)
    answer.backward(gradient.double())
    patches = patches_of(x, kernel, stride, padding, answer.shape[2:])
    mine = weight_gradient(patches, gradient, kernel)
    assert mine.dtype == torch.bfloat16
    scale = weight.grad.abs().max().item()
    torch.testing.assert_close(mine.double(), weight.grad, rtol=2**-8, atol=1e-5 * scale)


@pytest.mark.parametrize(("into", "out", "kernel", "stride", "padding", "size"), CASES)
def test_small_maps_equal_the_definition(into, out, kernel, stride, padding, size) -> None:
    """A layer with a map of 16 positions: every part of :class:`_Conv2d` against float64."""
    generator = torch.Generator().manual_seed(0)
    size = [
        3 * step + side - 2 * pad for step, side, pad in zip(stride, kernel, padding, strict=True)
    ]  # 4 by 4 answers
    x = torch.randn(BATCH, into, *size, generator=generator).bfloat16().contiguous(memory_format=torch.channels_last)
    layer = nn.Conv2d(into, out, kernel, stride, padding).to(torch.bfloat16)
    exact = copy.deepcopy(layer).double()
    layer.kernel_size = None  # 1x1 would not take part
    use_products(layer)
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(mine)
    wanted = exact(theirs)
    assert answer.grad_fn.saved_tensors[2] is not None  # the patches
    assert answer.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(answer.shape, generator=generator).bfloat16()
    answer.backward(gradient)
    wanted.backward(gradient.double())
    pairs = [(answer, wanted), (mine.grad, theirs.grad), (layer.weight.grad, exact.weight.grad),
             (layer.bias.grad, exact.bias.grad)]  # fmt: skip
    for found, right in pairs:
        assert found.shape == right.shape
        torch.testing.assert_close(found.double(), right, rtol=2**-7, atol=1e-2 * right.abs().mean().item())


@pytest.mark.parametrize(
    ("padding", "kernel"), [((1, 1), (3, 3)), ((0, 0), (3, 3)), ((2, 1), (3, 2)), ((0, 0), (1, 1))]
)
def test_input_gradient_for_every_padding(padding, kernel) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 8, *kernel, generator=generator, dtype=torch.float64)
    answer = F.conv2d(x, weight, padding=padding)
    gradient = torch.randn(answer.shape, generator=generator, dtype=torch.float64)
    answer.backward(gradient)
    torch.testing.assert_close(input_gradient(gradient, weight, padding, (5, 6)), x.grad)


def test_an_nchw_network_stays_nchw() -> None:
    """Its small maps are torch's own going forward, so that no layer after them is given another layout."""
    layer = nn.Conv2d(128, 128, 3, padding=1)
    use_products(layer)
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(torch.randn(4, 128, 4, 4))
    assert answer.is_contiguous()
    assert names(answer) == ["_Conv2dBackward"]


class Small(nn.Module):
    """One convolution of each fate: thin, at a large map, one that pays, and kinds that do not."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.thin = nn.Conv2d(3, 128, 3, padding=1, bias=bias)
        self.large = nn.Conv2d(128, 128, 3, padding=1, bias=bias)
        self.pays = nn.Conv2d(128, 128, 3, padding=1, stride=2, bias=bias)
        self.grouped = nn.Conv2d(128, 128, 3, padding=1, groups=2, bias=bias)
        self.dilated = nn.Conv2d(128, 128, 3, padding=2, dilation=2, bias=bias)
        self.same = nn.Conv2d(128, 128, 3, padding="same", bias=bias)
        self.one = nn.Conv2d(128, 128, 1, bias=bias)
        self.last = nn.Conv2d(128, 128, (2, 3), bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x).relu()
        return x


def names(x: torch.Tensor) -> list[str]:
    """Of the operations behind `x`, without those of other kinds."""
    found, queue, seen = [], [x.grad_fn], set()
    while queue:
        node = queue.pop()
        if node and node not in seen:
            seen.add(node)
            found.append(type(node).__name__)
            queue.extend(next_ for next_, _ in node.next_functions)
    return sorted(name for name in found if "Conv" in name)


@pytest.mark.parametrize("bias", [False, True])
def test_taken_where_it_pays_and_gradients_agree(bias: bool) -> None:
    torch.manual_seed(0)
    plain = Small(bias)
    other = copy.deepcopy(plain)
    use_products(other)
    use_products(other)  # again changes nothing
    assert plain.state_dict().keys() == other.state_dict().keys()
    assert [type(layer).__name__ for layer in other.children()] == ["Conv2d"] * 8
    assert all(isinstance(layer, nn.Conv2d) for layer in copy.deepcopy(other).children())
    x = torch.randn(4, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        answers = [model(x) for model in (plain, other)]
    assert torch.equal(*answers)
    assert names(answers[0]) == ["ConvolutionBackward0"] * 8
    assert names(answers[1]) == ["ConvolutionBackward0"] * 6 + ["_Conv2dBackward"] * 2
    for answer in answers:
        answer.float().square().mean().backward()
    for (name, mine), theirs in zip(other.named_parameters(), plain.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        error = (mine.grad - theirs.grad).norm() / theirs.grad.norm()
        assert error < 0.01, name


def test_nothing_changes_outside_bf16_training() -> None:
    """In float32, and where no gradient is wanted, the convolution is torch's own."""
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 128, 3, padding=1)
    use_products(layer)
    x = torch.randn(2, 128, 8, 8)
    assert names(layer(x)) == ["ConvolutionBackward0"]
    with torch.autocast("cpu", torch.bfloat16):
        assert names(layer(x)) == ["_Conv2dBackward"]
        layer.weight.requires_grad_(False)
        assert names(layer(x.requires_grad_())) == ["ConvolutionBackward0"]
        with torch.inference_mode():
            assert layer(x).dtype == torch.bfloat16
        layer.weight.requires_grad_(True)
        assert layer(x[:0]).shape == (0, 128, 8, 8)
        assert names(layer(input=x)) == ["_Conv2dBackward"]
    with torch.autocast("cpu", torch.float16):
        assert names(layer(x)) == ["ConvolutionBackward0"]


class Scaled(nn.Conv2d):
    """A convolution that is more than one."""

    def forward(self, x: torch.Tensor, scale: float) -> torch.Tensor:
        return super().forward(x) * scale


def test_classes_that_zoo_does_not_know_stay_as_they_are() -> None:
    model = nn.ModuleList([
        Scaled(128, 128, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(128, 128, 3)), nn.LazyConv2d(128, 3)
    ])  # fmt: skip
    before = [type(part) for part in model.modules()]
    use_products(model)
    assert [type(part) for part in model.modules()] == before


@pytest.mark.parametrize(
    ("model", "precision", "expected"),
    [
        ("resnet20_bn", "bf16", 0),  # 64 wide at most
        ("resnet18_w16_bn", "bf16", 3),  # layer4 but for what comes in 64 wide
        ("resnet18_ws_gn", "bf16", 8),  # layer3 and layer4 but for their 1x1; a convolution of its own class takes part
        ("resnet18_ws_gn", "fp32", 0),
    ],
)
def test_training_step_uses_it(model: str, precision: str, expected: int) -> None:
    recipe = load_recipe("smoke", [f"precision={precision}"])
    module = build(load_registry().resolve(model))
    before = [type(layer).__name__ for layer in module.modules()]
    step = TrainStep(module, make_optimizer(module, recipe.optimizer), recipe, CPU, world=ALONE)
    assert [type(layer).__name__ for layer in module.modules()] == before
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        answer = step.network(torch.randn(2, 3, 32, 32))
    assert names(answer).count("_Conv2dBackward") == expected
