"""Sizes by hand, and measurements that leave the model alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.engine import memory_format, speed
from zoo.engine.counts import count_activation_bytes, count_macs, count_parameters
from zoo.engine.memory_format import LAYOUTS, faster_layout
from zoo.engine.speed import measure_inference
from zoo.recipes.load import load_recipe

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(8, 10)
    )


def photograph(model: nn.Module) -> list[tuple]:
    """Names, bytes, strides, gradients and modes."""
    tensors = [
        (name, tensor.detach().numpy().tobytes(), tensor.stride(), tensor.requires_grad)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    ]
    return [*tensors, *((name, module.training) for name, module in model.named_modules())]


@pytest.mark.parametrize("override", ["ema.decay=0.9", "clip_grad_norm=1"])
@pytest.mark.parametrize("training", [True, False])
def test_faster_layout_leaves_the_model_alone(training: bool, override: str) -> None:
    model = network().train(training)
    before = photograph(model)
    recipe = load_recipe("smoke", ["precision=fp32", "optimizer.lr=1", override])
    faster = faster_layout(model, recipe, CPU, (3, 8, 8))
    assert faster is None or (faster[0] in LAYOUTS and faster[1] >= 1)  # None where the clock was disturbed
    assert photograph(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("seconds", "faster"), [((1.0, 4.0), "nchw"), ((4.0, 1.0), "channels_last")])
def test_faster_layout_is_by_the_median_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], faster: str
) -> None:
    clock = itertools.chain([9.0, 1.0, 0.1, 9.0], itertools.cycle(seconds))  # the first turn, and a slow moment
    monkeypatch.setattr(memory_format, "seconds_of", lambda work, device: next(clock))
    assert faster_layout(network(), load_recipe("smoke", ["precision=fp32"]), CPU, (3, 8, 8)) == (faster, 4.0)


def test_faster_layout_is_none_where_the_clock_was_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = iter([9.0, 1.0, 0.5, 2.0, 0.7, 3.0])  # of the turns, the first of which does not count
    clock = (seconds for ratio in ratios for seconds in (ratio, 1.0))
    monkeypatch.setattr(memory_format, "seconds_of", lambda work, device: next(clock))
    assert faster_layout(network(), load_recipe("smoke", ["precision=fp32"]), CPU, (3, 8, 8)) is None


def test_macs_by_hand() -> None:
    model = network()
    before = photograph(model)
    assert count_macs(model, (3, 8, 8), CPU) == 8 * 8 * (3 * 3 * 3 * 8) + 8 * 10
    assert photograph(model) == before


class Attention(nn.Module):
    """Of 16 tokens of 8 numbers each; `module` as torchvision calls it, else as timm does."""

    def __init__(self, module: bool) -> None:
        super().__init__()
        self.module = nn.MultiheadAttention(8, 2, batch_first=True) if module else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        if self.module is not None:
            return self.module(x, x, x, need_weights=False)[0]
        return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])


@pytest.mark.parametrize(("module", "projections"), [(True, 4), (False, 0)])
def test_macs_of_attention_by_hand(module: bool, projections: int) -> None:
    fast = torch.backends.mha.get_fastpath_enabled()
    assert count_macs(Attention(module), (8, 4, 4), CPU) == 2 * 16 * 16 * 8 + projections * 16 * 8 * 8
    assert torch.backends.mha.get_fastpath_enabled() is fast


def test_macs_of_groups_and_strides_by_hand() -> None:
    model = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4)
    assert count_macs(model, (8, 6, 6), CPU) == 3 * 3 * (3 * 3 * 2 * 16)


class Query(nn.Module):
    """Attention of one learned token to the others: the parameter itself is the input of a module, as in cait, pit."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.project = nn.Parameter(torch.ones(1, 1, 8)), nn.Linear(8, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.token) + self.project(x.flatten(2).transpose(1, 2))


def test_macs_of_a_parameter_that_is_a_modules_input() -> None:
    assert count_macs(Query(), (8, 4, 4), CPU) == (1 + 16) * 8 * 4


@pytest.mark.parametrize(
    ("name", "options"), [("cait_xxs24_224", {"patch_size": 4}), ("pit_ti_224", {"patch_size": 4, "stride": 2})]
)
def test_timm_cait_and_pit_have_macs(name: str, options: dict[str, int]) -> None:
    """More than a multiplication for each weight: patches go through the same ones."""
    import timm

    model = timm.create_model(name, img_size=32, num_classes=10, **options)
    assert count_macs(model, (3, 32, 32), CPU) > sum(parameter.numel() for parameter in model.parameters())


def test_activations_by_hand() -> None:
    model = network()
    before = [part.detach().clone() for part in model.parameters()]
    image, plane, pooled = (
        3 * 64 * 4,
        8 * 64 * 4,
        8 * 4,
    )  # what conv, BatchNorm and ReLU, linear keep
    assert count_activation_bytes(model, (3, 8, 8), CPU, "fp32") == image + 2 * plane + pooled
    assert all(map(torch.equal, before, model.parameters()))
    assert count_activation_bytes(model, (3, 8, 8), CPU, "bf16") < image + 2 * plane + pooled


class OfRandomDepth(nn.Module):
    """A convolution, dropout, and ten convolutions that are skipped where `draw` says so, each or all at once."""

    def __init__(self, draw: Callable[[], bool], dropout: float = 0.0, at_once: bool = False) -> None:
        super().__init__()
        self.first, self.draw, self.at_once = nn.Conv2d(3, 8, 3, padding=1), draw, at_once
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.first(x))
        if self.at_once and self.draw():
            return x
        for block in self.blocks:
            if self.at_once or not self.draw():
                x = x + block(x)
        return x


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(())])
def test_activations_of_a_network_of_random_depth_are_those_of_one_draw(draw) -> None:
    plane, image = 8 * 8 * 8 * 4, 3 * 8 * 8 * 4
    model = OfRandomDepth(lambda: bool(draw() < 0.5))
    counts = {count_activation_bytes(model, (3, 8, 8), CPU, "fp32") for _ in range(5)}
    assert len(counts) == 1, "the count depends on what was drawn before"
    (count,) = counts
    blocks, rest = divmod(count - image, 2 * plane)  # a block keeps its input and its output
    assert 0 < blocks < 10
    assert rest == 0


def test_activations_are_never_negative() -> None:
    """Dropout draws more numbers for more images, so that the depth differs between the two batches."""
    for share in np.linspace(0.05, 0.95, 19):
        model = OfRandomDepth(lambda share=share: bool(torch.rand(()) > share), dropout=0.1, at_once=True)
        assert count_activation_bytes(model, (3, 8, 8), CPU, "fp32") > 0, share


def test_parameters_all_and_trained() -> None:
    model = network()
    model[1].requires_grad_(False)
    assert count_parameters(model) == (224 + 16 + 90, 224 + 90)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inference_figures(layout: str) -> None:
    model = network()
    before = photograph(model)[: -len(list(model.modules()))]
    found = measure_inference(model, CPU, "fp32", layout, (3, 8, 8))
    assert 0 < found.latency_p50 <= found.latency_p90 <= found.latency_p99
    assert found.inference_batch_size in (32, 128)
    low, high = found.inference_quartiles
    assert low <= found.inference_images_per_second <= high
    low, high = found.latency_quartiles
    assert low <= found.latency_p50 <= high
    assert found.inference_images_per_second > 1 / found.latency_p50  # a batch is faster than one at a time
    assert photograph(model)[: len(before)] == before


def test_a_quiet_batch_size_counts_before_a_disturbed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one moment of a machine that wakes up would choose."""
    times = {32: itertools.repeat(0.32), 128: itertools.cycle([0.1, 0.6])}  # 100 img/s; 213 to 1,280
    single = itertools.cycle([0.01, 0.0101])

    def seconds_of(forward: object, device: object) -> float:
        return next(times.get(len(forward()), single))

    monkeypatch.setattr(speed, "seconds_of", seconds_of)
    found = measure_inference(network(), CPU, "fp32", "nchw", (3, 8, 8))
    assert (found.inference_batch_size, found.inference_images_per_second) == (32, 100.0)
    assert found.inference_quartiles == (100.0, 100.0)
