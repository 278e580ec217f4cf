"""Models of timm and torchvision by name: made fit for 32x32, norms swapped, mistakes told in one line."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from strangers import try_on
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.builder import notes
from zoo.builder.construct import build, load_norm
from zoo.builder.norm import Norm
from zoo.errors import RegistryError, UnknownNameError
from zoo.models.swap import Swapped, swap
from zoo.registry.fingerprint import definition
from zoo.registry.merge import Registry, load_registry
from zoo.results.folder import RunFolder

IMAGE = (3, 32, 32)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would download fails."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def make(registry: Registry, name: str, num_classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return build(registry.resolve(name), num_classes)


def norm(registry: Registry, name: str) -> Norm:
    return load_norm(registry.norms[name])


# One for each kind of norm layer that a library has: separate, fused with its activation, over tokens, per pixel.
@pytest.mark.parametrize(
    ("name", "swapped"),
    [
        ("timm:test_resnet@gn", "BatchNorm2d"),
        ("timm:test_efficientnet@ln2d", "BatchNormAct2d"),
        ("timm:test_vit@ln", "LayerNorm"),
        ("timm:test_convnext@rms2d", "LayerNorm2d"),
        ("timm:test_byobnet@in", "BatchNormAct2d"),
        ("torchvision:shufflenet_v2_x0_5@gn", "BatchNorm2d"),
        ("torchvision:mobilenet_v3_small@none", "BatchNorm2d"),
    ],
)
def test_builds_trains_and_tells_what_was_swapped(registry: Registry, name: str, swapped: str) -> None:
    own = make(registry, name.partition("@")[0], 7)
    kinds = [type(part).__name__ for part in own.modules()]
    model = registry.resolve(name)
    module = make(registry, name, 7)
    try_on(model, module, (3, 32, 32), 7)  # fairness, a training step, (2, 7) logits
    told = notes.of(module)
    assert told[0].startswith("stem for 32x32: ")
    assert f"{model.norm.name} instead of " in told[1]
    assert f"{kinds.count(swapped)} {swapped}" in told[1]
    assert not any(isinstance(part, _BatchNorm) for part in module.modules())
    assert model.norm.name == name.rpartition("@")[2]


def test_the_stem_rule(registry: Registry) -> None:
    resnet = make(registry, "timm:resnet18")
    assert resnet.conv1.stride == (1, 1)
    assert resnet.conv1.kernel_size == (7, 7)
    assert isinstance(resnet.maxpool, nn.Identity)
    assert resnet.layer2[0].conv1.stride == (2, 2)
    assert resnet.forward_features(torch.rand(1, 3, 32, 32)).shape == (1, 512, 4, 4)  # 128x128 gave 4x4 before
    vit = make(registry, "timm:test_vit")
    assert vit.patch_embed.proj.weight.shape[2:] == (4, 4)
    assert vit.forward_features(torch.rand(1, 3, 32, 32)).shape[1] == 8 * 8 + vit.num_prefix_tokens
    assert make(registry, "torchvision:mobilenet_v3_small").features(torch.rand(1, 3, 32, 32)).shape[2:] == (4, 4)
    with pytest.raises(RegistryError, match=r"timm:tresnet_m: cannot be made fit for 32x32 images: .*smaller"):
        make(registry, "timm:tresnet_m")


def test_same_seed_same_weights(registry: Registry) -> None:
    first, second = (make(registry, "timm:test_vit@gn").state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


class Layers(nn.Module):
    """Norms of several layouts one after the other; (N, 3, 32, 32) to (N, 3)."""

    def __init__(self, *layers: nn.Module, arrange: Callable[[torch.Tensor], torch.Tensor] = lambda x: x) -> None:
        super().__init__()
        self.layers, self.arrange = nn.Sequential(*layers), arrange

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.arrange(x)).flatten(1)[:, :3]


@pytest.mark.parametrize("layout", ["tokens", "last", "sequence", "plane"])
def test_every_layout_gets_the_norm_over_its_channels(registry: Registry, layout: str) -> None:
    def to_plane(y: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return {"tokens": lambda: y.transpose(1, 2), "last": lambda: y.permute(0, 3, 1, 2)}.get(layout, lambda: y)()

    arrange = {
        "tokens": lambda x: x.flatten(2).transpose(1, 2),
        "last": lambda x: x.permute(0, 2, 3, 1),
        "sequence": lambda x: x.flatten(2),
        "plane": lambda x: x,
    }[layout]
    old = nn.BatchNorm1d(3) if layout == "sequence" else nn.GroupNorm(3, 3) if layout == "plane" else nn.LayerNorm(3)
    nn.init.uniform_(old.weight)
    nn.init.uniform_(old.bias)
    model = Layers(old.to(torch.float64), arrange=arrange).eval()
    model.double().requires_grad_(True)
    images, expected = torch.rand(2, 3, 32, 32, dtype=torch.float64), nn.GroupNorm(1, 3, dtype=torch.float64)
    expected.load_state_dict({"weight": old.weight, "bias": old.bias})
    torch.set_default_dtype(torch.float64)
    try:
        assert swap("it", model, norm(registry, "ln"), IMAGE).startswith("ln instead of 1 ")
    finally:
        torch.set_default_dtype(torch.float32)
    new = model.layers[0]
    assert not new.training
    assert all(parameter.dtype == torch.float64 for parameter in new.parameters())
    given = to_plane(new(arrange(images)), images)
    wanted = expected(images if given.dim() == 4 else images.flatten(2))
    assert torch.allclose(given, wanted)


def test_fused_layers_keep_their_activation(registry: Registry) -> None:
    layer = timm.layers.BatchNormAct2d(8, act_layer=nn.SiLU)
    model = Layers(nn.Conv2d(3, 8, 1), layer)
    swap("it", model, norm(registry, "gn"), IMAGE)
    new, x = model.layers[1], torch.randn(2, 8, 4, 4)
    assert isinstance(new, Swapped)
    assert torch.equal(new(x), nn.functional.silu(new.norm(x)))


@pytest.mark.parametrize("name", ["evos0", "evob0", "frn"])
@pytest.mark.parametrize("model", ["timm:test_resnet", "torchvision:mobilenet_v3_small"])
def test_norms_with_an_activation_of_their_own_are_refused(registry: Registry, model: str, name: str) -> None:
    with pytest.raises(RegistryError) as caught:
        make(registry, f"{model}@{name}")
    assert str(caught.value) == (
        f"{model}@{name}: norm {name!r} has its own activation, but a swap keeps the model's activations; "
        f"choose a norm without one, such as {model}@gn, or a model of the registry, such as resnet18_{name}"
    )


def test_norms_with_a_convolution_of_their_own_are_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError) as caught:
        make(registry, "timm:test_resnet@ws_gn")
    assert str(caught.value) == (
        "timm:test_resnet@ws_gn: norm 'ws_gn' has its own convolution, but a swap keeps the model's convolutions; "
        "choose a norm without one, such as timm:test_resnet@gn, or a model of the registry, such as "
        "resnet18_ws_gn"
    )


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.reshape(-1, 16, 3)).reshape(len(x), -1)


@pytest.mark.parametrize(
    ("model", "name", "told"),
    [
        (Windows, "gn", r"it@gn: .*'norm' \(LayerNorm\) reads parts of images as if they were images"),
        (lambda: Layers(nn.Conv2d(3, 4, 1)), "gn", r"no norm layer that can be swapped \(it has none at all\)"),
        (lambda: Layers(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(3)), "gn", r"1 on one vector an image"),
        (lambda: Layers(nn.LayerNorm([3, 32, 32])), "gn", r"normalises over several axes at once"),
        (
            lambda: Layers(timm.layers.EvoNorm2dB0(3)),
            "bn",
            r"normalises and activates in one.*use it with its own norms",
        ),
    ],
)
def test_what_cannot_be_swapped_is_told(registry: Registry, model: Callable, name: str, told: str) -> None:
    with pytest.raises(RegistryError, match=told):
        swap("it", model(), norm(registry, name), IMAGE)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timm:resnt18", r"unknown timm model 'resnt18' .*did you mean 'resnet18'"),
        ("torchvision:mobilenet_v3", r"did you mean 'mobilenet_v[23]"),
        ("tim:resnet18", r"unknown source of models 'tim' .*did you mean 'timm'"),
        ("timm:resnet18@lnn", r"unknown norm 'lnn' .*did you mean 'ln'"),
        ("timm:resnet*", r"patterns name models of the registry only.*timm:resnet"),
        ("timm:resnet18.a1_in1k", r"names pretrained weights, and none are ever fetched; write timm:resnet18"),
        ("timm:hf-hub:x/y", r"unknown timm model"),
        ("torchvision:fcn_resnet50", r"unknown torchvision model"),
        ("hub-folder:./nowhere", r"no such folder"),
    ],
)
def test_mistakes_are_told_with_the_nearest_names(registry: Registry, name: str, told: str) -> None:
    with pytest.raises((UnknownNameError, RegistryError), match=told) as caught:
        registry.match([name])
    assert "\n" not in str(caught.value)


def test_folders_are_safe_and_apart() -> None:
    names = [
        "timm:resnet18", "timm:resnet18@ln", "timm-resnet18-ln", "hub-folder:a/b", "hub-folder:a-b",
        "hub-folder:/" + "x/" * 200, "hub-folder:../..", "resnet18_bn~1a2b3c4d", "resnet18_bn",
    ]  # fmt: skip
    folders = [RunFolder.of(Path("runs"), "d", "r", name, 0).path for name in names]
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert len(folder.parts) == 5
        assert set(folder.parts[3]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
        assert len(folder.parts[3]) < 100
    assert folders[-1] == Path("runs/d/r/resnet18_bn/seed0")


def test_definitions_hold_the_rule_and_the_norm(registry: Registry) -> None:
    own, swapped = (definition(registry.resolve(name)) for name in ("timm:resnet18", "timm:resnet18@ln"))
    assert own["model"]["kwargs"] == {"name": "resnet18", "stem_rule": 1}
    assert swapped["architecture"]["kwargs"] == own["model"]["kwargs"]
    assert swapped["norm"]["name"] == "ln"
    assert registry.resolve("timm:resnet18@ln").label == "timm resnet18, LayerNorm (GroupNorm, 1 group)"
    assert registry.resolve("timm:resnet18").label == "timm resnet18"
