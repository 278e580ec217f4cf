"""Convolutions with images side by side: equal to the definition, only where they pay, invisible from outside."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from zoo.builder.construct import build
from zoo.engine import convolution
from zoo.engine.convolution import SideBySideConv2d, convert, use_side_by_side
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.recipes.load import load_recipe
from zoo.registry.merge import load_registry
from zoo.utils.distributed import SINGLE_PROCESS

CPU = torch.device("cpu")
CASES = [  # in, out, kernel, stride, padding, (height, width)
    (128, 160, (3, 3), (1, 1), (1, 1), (8, 8)),
    (128, 128, (3, 3), (1, 1), (1, 1), (7, 5)),
    (128, 130, (3, 3), (1, 1), (1, 1), (3, 3)),
    (128, 128, (3, 3), (1, 1), (1, 1), (6, 1)),
    (128, 128, (3, 3), (1, 1), (1, 1), (1, 1)),
    (128, 128, (3, 3), (2, 2), (1, 1), (15, 16)),
    (128, 128, (3, 3), (2, 2), (1, 1), (16, 15)),
    (130, 128, (1, 1), (1, 1), (0, 0), (4, 4)),
    (128, 130, (1, 1), (2, 2), (0, 0), (7, 8)),
    (128, 128, (2, 3), (1, 1), (1, 1), (5, 6)),
    (128, 128, (5, 5), (1, 1), (2, 2), (2, 8)),
    (128, 128, (5, 5), (3, 3), (2, 2), (20, 20)),
]
APART = [  # (in, out, kernel, stride, padding, (height, width)) of layers that stay torch's own
    (128, 128, (3, 3), (1, 1), (0, 0), (8, 8)),  # fewer answers than columns from one image to the next
    (128, 128, (2, 3), (1, 2), (0, 2), (5, 9)),  # more of them
    (128, 128, (3, 3), (1, 1), (1, 1), (9, 8)),  # 72 positions
    (128, 128, (3, 3), (1, 1), (1, 1), (2, 16)),  # long rows
]


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many images each call of ``conv2d_side_by_side`` laid side by side."""
    counts = []
    real = convolution.conv2d_side_by_side
    monkeypatch.setattr(convolution, "conv2d_side_by_side", lambda *args: counts.append(args[-1]) or real(*args))
    return counts


def both(into, out, kernel, stride, padding, size, images=32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A layer's answer and gradients in bf16 beside the same of the same bf16 values in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, into, *size, generator=generator).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    layer = nn.Conv2d(into, out, kernel, stride, padding).to(torch.bfloat16)
    exact = copy.deepcopy(layer).double()
    layer.kernel_size = None  # 1x1 would not take part
    convert(layer)
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(mine)
    wanted = exact(theirs)
    gradient = torch.randn(answer.shape, generator=generator).bfloat16()
    answer.backward(gradient)
    wanted.backward(gradient.double())
    assert answer.is_contiguous(memory_format=torch.channels_last)
    return [
        (answer, wanted), (mine.grad, theirs.grad), (layer.weight.grad, exact.weight.grad),
        (layer.bias.grad, exact.bias.grad),
    ]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case, calls) -> None:
    """Only the rounding of each answer to bf16 remains."""
    pairs = both(*case)
    assert calls == [32 if pairs[0][0].shape[3] <= 4 else 16]
    for found, right in pairs:
        assert found.shape == right.shape
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), right, rtol=2**-7, atol=1e-2 * right.abs().mean().item())


@pytest.mark.parametrize("case", APART)
def test_where_images_cannot_lie_side_by_side_the_layer_is_torchs(case, calls) -> None:
    for found, right in both(*case):
        torch.testing.assert_close(found.double(), right, rtol=2**-7, atol=1e-2 * right.abs().mean().item())
    assert calls == []


@pytest.mark.parametrize(("images", "count"), [(16, [16]), (100, [4]), (8, [8]), (2, []), (25, []), (48, [16])])
def test_batches_of_any_size(images: int, count: list[int], calls) -> None:
    for found, right in both(128, 128, (3, 3), (1, 1), (1, 1), (2, 6), images):
        torch.testing.assert_close(found.double(), right, rtol=2**-7, atol=1e-2 * right.abs().mean().item())
    assert calls == count


def test_an_nchw_network_stays_nchw(calls) -> None:
    """No layer after it is given another layout."""
    layer = nn.Conv2d(128, 128, 3, padding=1)
    convert(layer)
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(torch.randn(16, 128, 4, 4))
    assert answer.is_contiguous()
    assert calls == []


TAKEN = ("large", "pays", "dilated", "same", "last")  # as classes; what is called decides the rest


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
        self.last = nn.Conv2d(128, 128, (2, 3), bias=bias)  # without padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x).relu()
        return x


@pytest.mark.parametrize("bias", [False, True])
def test_taken_where_it_pays_and_gradients_agree(bias: bool, calls) -> None:
    torch.manual_seed(0)
    plain = Small(bias).to(memory_format=torch.channels_last)
    other = copy.deepcopy(plain)
    convert(other)
    convert(other)  # again changes nothing
    assert plain.state_dict().keys() == other.state_dict().keys()
    kinds = [type(layer) for layer in other.children()]
    assert kinds == [SideBySideConv2d if name in TAKEN else nn.Conv2d for name, _ in other.named_children()]
    assert [type(layer) for layer in copy.deepcopy(other).children()] == kinds
    x = torch.randn(16, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        answers = [model(x) for model in (plain, other)]
    torch.testing.assert_close(*answers, rtol=0.02, atol=0.02)
    assert calls == [16]  # `pays` alone
    for answer in answers:
        answer.float().square().mean().backward()
    for (name, mine), theirs in zip(other.named_parameters(), plain.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        error = (mine.grad - theirs.grad).norm() / theirs.grad.norm()
        assert error < 0.01, name


def test_nothing_changes_outside_bf16_training(calls) -> None:
    """In float32, and where no gradient is wanted, the convolution is torch's own."""
    torch.manual_seed(0)
    layer = nn.Conv2d(128, 128, 3, padding=1)
    convert(layer)
    x = torch.randn(16, 128, 8, 8).contiguous(memory_format=torch.channels_last)
    layer(x)
    assert calls == []
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
        assert calls == [16]
        with torch.inference_mode():
            assert layer(x).dtype == torch.bfloat16
        with torch.no_grad():
            assert layer(x).shape == x.shape
        assert layer(x[:0]).shape == (0, 128, 8, 8)
        assert layer(x[0]).shape == (128, 8, 8)
        assert calls == [16]
        layer(input=x)
        assert calls == [16] * 2
    with torch.autocast("cpu", torch.float16):
        layer(x)
    assert calls == [16] * 2


class Scaled(nn.Conv2d):
    """A convolution that is more than one."""

    def forward(self, x: torch.Tensor, scale: float) -> torch.Tensor:
        return super().forward(x) * scale


def test_classes_that_zoo_does_not_know_stay_as_they_are() -> None:
    model = nn.ModuleList([
        Scaled(128, 128, 3), nn.utils.parametrizations.weight_norm(nn.Conv2d(128, 128, 3)), nn.LazyConv2d(128, 3)
    ])  # fmt: skip
    before = [type(part) for part in model.modules()]
    convert(model)
    assert [type(part) for part in model.modules()] == before


@pytest.mark.parametrize(
    ("model", "precision", "flags", "expected"),
    [
        ("resnet20_bn", "bf16", {"avx512_bf16", "amx_bf16"}, 0),  # 64 wide at most
        ("resnet18_w16_bn", "bf16", {"avx512_bf16", "amx_bf16"}, 3),  # layer4 but for what comes in 64 wide
        ("resnet18_ws_gn", "bf16", {"amx_bf16"}, 8),  # layer3 and layer4 but for their 1x1, of a class of timm's
        ("resnet18_ws_gn", "bf16", {"avx512_bf16"}, 0),  # gains nothing without AMX
        ("resnet18_ws_gn", "fp32", {"amx_bf16"}, 0),
    ],
)
def test_training_uses_it_with_amx_in_bf16_alone_and_the_model_can_be_pickled(
    model: str, precision: str, flags: set[str], expected: int, calls, monkeypatch
) -> None:
    monkeypatch.setattr(convolution, "instructions", lambda: flags)
    recipe = load_recipe("smoke", [f"precision={precision}"])
    module = build(load_registry().resolve(model)).to(memory_format=torch.channels_last)
    use_side_by_side(module, CPU, precision, compiled=False)
    step = TrainStep(module, make_optimizer(module, recipe.optimizer), recipe, CPU, distributed=SINGLE_PROCESS)
    images = torch.randn(32, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    step(images, torch.zeros(32, dtype=torch.int64), 0.0)
    assert len(calls) == expected
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert [type(layer) for layer in twin.modules()] == [type(layer) for layer in module.modules()]
        assert all(map(torch.equal, twin.state_dict().values(), module.state_dict().values()))


def test_compiled_models_and_gpus_keep_torchs_convolutions(monkeypatch) -> None:
    monkeypatch.setattr(convolution, "instructions", lambda: {"amx_bf16"})
    layer = nn.Conv2d(128, 128, 3)
    use_side_by_side(layer, CPU, "bf16", compiled=True)
    use_side_by_side(layer, torch.device("cuda"), "bf16", compiled=False)
    assert type(layer) is nn.Conv2d
    use_side_by_side(layer, CPU, "bf16", compiled=False)
    assert type(layer) is SideBySideConv2d


def test_there_is_no_other_lazy_class() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SideBySideLinear'"):
        convolution.SideBySideLinear  # noqa: B018
