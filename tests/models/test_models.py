"""Every architecture of the built-in registry with every norm: size, shape, gradients, layout, graph.

Of the pairs, each architecture is there with two norms and each norm with two architectures or more; all are with
``-m slow``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
import torch
from torch import Tensor, nn

from zoo.builder.construct import build
from zoo.errors import RegistryError
from zoo.registry.entries import read_registry_file
from zoo.registry.locate import load_builder
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN, Model
from zoo.testing.architectures import check_training_step

REGISTRY = Registry([read_registry_file(BUILT_IN, "built in")])
ARCHITECTURES, NORMS = list(REGISTRY.architectures), list(REGISTRY.norms)
PAIRS = [(architecture, norm) for architecture in ARCHITECTURES for norm in NORMS]
# Two diagonals of that table.
CHOSEN = {
    (ARCHITECTURES[i % len(ARCHITECTURES)], NORMS[(i + shift) % len(NORMS)])
    for shift in (0, len(NORMS) // 2)
    for i in range(max(len(ARCHITECTURES), len(NORMS)))
}
# The same code with fewer channels, so that all pairs take seconds; full widths are counted below and built as `slow`.
NARROW = {"width": 8, "widen": 2}
# Depths of one builder share their code, so what costs a second per model is asked of one of them.
ONE_PER_BUILDER = list({entry.builder: name for name, entry in reversed(REGISTRY.architectures.items())}.values())

# Exact figures are those of kuangliu's CIFAR collection (ResNet-18/34/50), akamaster's (6n + 2) and torchvision
# (mobilenet_v2 with 10 classes); the rounded millions are the papers' where no other source is named.
PUBLISHED = {
    "resnet18_bn": 11_173_962,
    "resnet18_ln": 11_173_962,
    "resnet18_in": 11_173_962,
    "resnet18_gn": 11_173_962,
    "resnet34_bn": 21_282_122,
    "resnet50_bn": 23_520_842,
    "resnet20_bn": 269_722,
    "resnet32_bn": 464_154,
    "resnet44_bn": 658_586,
    "resnet56_bn": 853_018,
    "mobilenetv2_bn": 2_236_682,
    "resnet9_w32_bn": 1_646_112,  # these three summed by hand, layer by layer
    "resnet9_w48_bn": 3_699_504,
    "resnet18_w16_bn": 701_466,
    "airbench94_bn": 1_972_792,  # by hand; Jordan 2024 has 1.97 M
    "airbench94_w96_bn": 4_424_376,
    "airbench94_d223_bn": 2_563_128,
    "airbench94_d233_bn": 3_153_464,
}
PUBLISHED_MILLIONS = {
    "resnet20_bn": "0.27",  # He et al. 2015, table 6
    "resnet32_bn": "0.46",
    "resnet44_bn": "0.66",
    "resnet56_bn": "0.85",
    "preact_resnet18_bn": "11.17",  # kuangliu's collection, which leaves out the last norm (1,024)
    "wrn16_4_bn": "2.7",  # Zagoruyko, Komodakis 2016
    "wrn28_10_bn": "36.5",
    "resnet9_bn": "6.57",  # Page 2018: 6.57 M with the linear layer free of bias
    "vgg16_bn": "14.7",  # kuangliu's collection, which has biases in the convolutions (4,224)
}


def resolve(architecture: str, norm: str, narrow: bool = True) -> Model:
    model = REGISTRY.resolve(f"{architecture}_{norm}")
    entry = model.architecture
    if narrow:
        takes = inspect.signature(load_builder(entry.builder, "", entry.origin)).parameters
        narrower = {key: value for key, value in NARROW.items() if key in takes}
        entry = dataclasses.replace(entry, kwargs={**entry.kwargs, **narrower})
    return dataclasses.replace(model, architecture=entry)


def make(architecture: str, norm: str, narrow: bool = True, **sizes: int) -> nn.Module:
    torch.manual_seed(0)
    return build(resolve(architecture, norm, narrow), **sizes)


def images(count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def check_a_training_step(architecture: str, model: nn.Module) -> None:
    """Logits and gradients are finite, and no parameter is dead."""
    dead = check_training_step(model, images(), 10)
    # FRN's threshold is a max, and so is airbench's head: the threshold wins only where a whole channel is below it.
    last = {"layer3.1.norm1.tau", "layer3.2.norm1.tau"} if architecture.startswith("airbench") else set()
    assert not set(dead) - last
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert len(frozen) <= 1  # airbench's whitening


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [pytest.param(*pair, marks=() if pair in CHOSEN else pytest.mark.slow) for pair in PAIRS],
)
def test_every_pair_trains(architecture: str, norm: str) -> None:
    check_a_training_step(architecture, make(architecture, norm))


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "norm"), PAIRS)
def test_every_pair_trains_at_full_width(architecture: str, norm: str) -> None:
    check_a_training_step(architecture, make(architecture, norm, narrow=False))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        assert parameters(build(REGISTRY.resolve(name))) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_published_parameter_counts_in_millions(name: str) -> None:
    told = PUBLISHED_MILLIONS[name]
    with torch.device("meta"):
        millions = parameters(build(REGISTRY.resolve(name))) / 1e6
    assert f"{millions:.{len(told.partition('.')[2])}f}" == told


def test_every_architecture_has_a_published_count() -> None:
    counted = {REGISTRY.resolve(name).architecture.name for name in [*PUBLISHED, *PUBLISHED_MILLIONS]}
    assert counted == set(REGISTRY.architectures)


def test_mobilenetv2_has_torchvisions_parameters() -> None:
    from torchvision.models import mobilenet_v2

    with torch.device("meta"):
        theirs = sorted(tuple(p.shape) for p in mobilenet_v2(num_classes=10).parameters())
        ours = sorted(tuple(p.shape) for p in build(REGISTRY.resolve("mobilenetv2_bn")).parameters())
    assert ours == theirs


@pytest.mark.parametrize("architecture", REGISTRY.architectures)
def test_other_inputs_and_classes(architecture: str) -> None:
    model = make(architecture, "bn", num_classes=100, in_channels=1)
    assert model(images(channels=1)).shape == (2, 100)
    assert make(architecture, "ln").eval()(images(1)).shape == (1, 10)


@pytest.mark.parametrize("norm", ["bn", "ln2d", "evos0"])
@pytest.mark.parametrize("architecture", ONE_PER_BUILDER)
def test_memory_layout_changes_nothing(architecture: str, norm: str) -> None:
    model = make(architecture, norm).double()
    x = images().double()
    plain = model(x)
    layouts = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _module, _args, y: layouts.append(y))
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x.to(memory_format=torch.channels_last)), plain, rtol=1e-9, atol=1e-9)
    assert len(layouts) == sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in layouts)


@pytest.mark.parametrize("architecture", ONE_PER_BUILDER)
def test_one_graph_under_compile(architecture: str) -> None:
    model = make(architecture, "gn").eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images()), model(images()))


@pytest.mark.parametrize("architecture", [name for name in REGISTRY.architectures if re.search("resnet|wrn", name)])
def test_stages_are_reachable_by_name(architecture: str) -> None:
    """For Grad-CAM: each stage halves the image of the one before."""
    model = make(architecture, "bn")
    sides = {}
    stages = [name for name, _ in model.named_children() if name.startswith("layer")]
    for name in stages:
        model.get_submodule(name).register_forward_hook(lambda _m, _a, y, name=name: sides.update({name: y.shape[2]}))
    model(images())
    first = 16 if architecture.startswith("resnet9") else 32
    assert list(sides) == [f"layer{i + 1}" for i in range(len(stages))]
    assert list(sides.values()) == [first >> i for i in range(len(stages))]
    assert len(stages) == (4 if re.fullmatch("(preact_)?resnet(18|34|50)(_w16)?", architecture) else 3)


def test_resnet18_ln_has_the_reference_experiments_49_rows() -> None:
    model = make("resnet18", "ln", narrow=False)
    containers = (nn.ReLU, nn.Identity, nn.Sequential)
    rows = [module for module in model.modules() if module is not model and not isinstance(module, containers)]
    assert len(rows) == 49
    kinds = sorted(type(row).__name__ for row in rows)
    assert {kind: kinds.count(kind) for kind in kinds} == {"BasicBlock": 8, "Conv2d": 20, "GroupNorm": 20, "Linear": 1}


def test_convolutions_start_with_he_variance() -> None:
    weight = make("resnet18", "bn", narrow=False).layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert abs(weight.mean().item()) < 1e-3


@pytest.mark.parametrize(
    "architecture", ["resnet18", "resnet50", "resnet20", "preact_resnet18", "wrn16_4", "mobilenetv2"]
)
def test_skip_init_starts_residual_blocks_as_identity(architecture: str) -> None:
    """The last block of the last stage that keeps its shape answers its input (before the sum's ReLU)."""
    model = make(architecture, "none").eval()
    stages = [child for name, child in model.named_children() if name.startswith("layer")]
    block = next(stage[-1] for stage in reversed(stages) if len(stage) > 1)
    seen = {}
    block.register_forward_hook(lambda _module, args, y: seen.update(x=args[0], y=y))
    model(images())
    assert seen["x"].abs().max() > 0
    after_relu = architecture in ("resnet18", "resnet50", "resnet20")
    torch.testing.assert_close(seen["y"], seen["x"].relu() if after_relu else seen["x"])


def test_option_a_shortcut_is_every_second_pixel_and_zeros() -> None:
    block = make("resnet20", "bn", narrow=False).layer2[0]
    x = images(2, 16)
    y = block.shortcut(x)
    assert y.shape == (2, 32, 16, 16)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize(
    ("architecture", "kwargs", "told"),
    [
        ("resnet18", {"depth": 19}, "18, 34, 50"),
        ("resnet20", {"depth": 21}, "20, 32, 44, 56"),
        ("preact_resnet18", {"depth": 50}, "18, 34"),
        ("wrn16_4", {"depth": 17}, "16, 22, 28"),
        ("vgg16", {"depth": 12}, "11, 13, 16, 19"),
    ],
)
def test_a_wrong_depth_names_the_right_ones(architecture: str, kwargs: dict, told: str) -> None:
    model = REGISTRY.resolve(f"{architecture}_bn")
    entry = dataclasses.replace(model.architecture, kwargs={**model.architecture.kwargs, **kwargs})
    with pytest.raises(RegistryError, match=told):
        build(dataclasses.replace(model, architecture=entry))
