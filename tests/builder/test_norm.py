"""What an architecture and a norm owe each other: the norm is used as it has to be, and it is given what it needs."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from strangers import benched, stranger
from tiny_training import CPU
from torch import nn

from zoo.builder.construct import build
from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.swap import swap
from zoo.registry.merge import load_registry
from zoo.registry.model import Model
from zoo.runner.checks import check_model
from zoo.testing import check_norm
from zoo.utils.distributed import Distributed

# Architectures that make their convolutions or activations themselves, or no norm at all.
IGNORES = """
class net(nn.Module):
    def __init__(self, norm, num_classes, in_channels):
        super().__init__()
        self.body = nn.Sequential({conv}(in_channels, 8, 3), {norm}, {act})
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))
"""


def ignores(conv: str = "norm.conv2d", norm: str = "norm(8)", act: str = "norm.act()") -> str:
    return IGNORES.format(conv=conv, norm=norm, act=act)


@pytest.mark.parametrize(
    ("code", "norm", "problem"),
    [
        (ignores(conv="nn.Conv2d"), "ws_gn", "norm.conv2d is never called, .* another norm than ws_gn, such as gn"),
        (ignores(act="nn.ReLU()"), "evos0", "norm.act is never called, .* would activate twice; call norm.act"),
        (ignores(act="nn.ReLU()"), "frn", "norm.act is never called"),
        (ignores(norm="nn.BatchNorm2d(8)"), "ln", "no layer is made by `norm`, so all norms would be the same model"),
    ],
)
def test_architectures_that_ignore_norm_conv2d_or_norm_act(tmp_path: Path, code: str, norm: str, problem: str) -> None:
    with pytest.raises(RegistryError, match=problem) as caught:
        build(stranger(tmp_path, code, norm))
    assert str(caught.value).startswith("architecture 'net' (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "norm"),
    [
        (ignores(conv="nn.Conv2d", act="nn.ReLU()"), "gn"),  # a norm that needs neither
        (ignores(conv="nn.Conv2d"), "evob0"),
        (ignores(act="nn.ReLU()"), "ws_gn"),
        (ignores(norm="norm(8, apply_act=False)", act="nn.Identity()"), "evos0"),  # nothing is activated
    ],
)
def test_a_norm_goes_into_an_architecture_that_does_what_it_needs(tmp_path: Path, code: str, norm: str) -> None:
    assert build(stranger(tmp_path, code, norm))(torch.rand(2, 3, 8, 8)).shape == (2, 10)


# Norms that need the size of what they read (case 18), as strangers write them.
LAYER_CHW = """
class mine(nn.Module):
    def __init__(self, num_channels, spatial_size):
        super().__init__()
        self.norm = nn.LayerNorm([num_channels, *spatial_size])

    def forward(self, x):
        return self.norm(x)
"""
ZERO_LAST = """
class net(Net):
    def __init__(self, norm, num_classes, in_channels):
        super().__init__(norm, num_classes, in_channels)
        nn.init.zeros_(self.norm2.norm.weight)
"""


def seeded(model: Model, size: tuple[int, int] = (32, 32)) -> nn.Module:
    torch.manual_seed(0)
    return build(model, 4, image_size=size)


def test_a_norm_that_names_spatial_size_is_given_it(tmp_path: Path) -> None:
    model = seeded(stranger(tmp_path, LAYER_CHW + ZERO_LAST, "mine"), (12, 8))
    shapes = {name: tuple(part.shape) for name, part in model.named_parameters() if "norm" in name and "weight" in name}
    assert shapes == {"norm1.norm.weight": (8, 12, 8), "norm2.norm.weight": (8, 6, 4)}
    assert not model.norm2.norm.weight.any()  # the architecture's own initial value
    assert model(torch.rand(2, 3, 12, 8)).shape == (2, 4)
    with_bn = seeded(stranger(tmp_path / "bn", "", "bn"))
    assert torch.equal(model.conv2.weight, with_bn.conv2.weight)  # the pass of an image draws nothing
    assert torch.equal(model.fc.weight, with_bn.fc.weight)


def test_a_norm_that_names_spatial_size_is_swapped_in() -> None:
    norm = Norm("chw", lambda num_channels, spatial_size: nn.LayerNorm([num_channels, *spatial_size]))
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Flatten(2), nn.BatchNorm1d(4))
    assert swap("it", model, norm, (3, 12, 8)).startswith("chw instead of 1 BatchNorm1d, 1 BatchNorm2d")
    assert model[1].normalized_shape == (4, 6, 4)
    assert model[3].norm.normalized_shape == (4, 24, 1)
    assert model(torch.rand(2, 3, 12, 8)).shape == (2, 4, 24)


def test_an_architecture_and_a_model_that_name_spatial_size_are_given_it(tmp_path: Path) -> None:
    code = """
    class net(Net):
        def __init__(self, norm, num_classes, in_channels, size):
            super().__init__(norm, num_classes, in_channels)
            self.fc = nn.Linear(8 * size[0] * size[1] // 4, num_classes)

        def forward(self, x):
            return self.fc(self.maps(x).flatten(1))
    """
    model = seeded(stranger(tmp_path, code, registry="arguments: {spatial_size: size}"), (12, 8))
    assert model(torch.rand(2, 3, 12, 8)).shape == (2, 4)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (
            """
            class net(Net):
                def __init__(self, norm, num_classes, in_channels):
                    super().__init__(norm, num_classes, in_channels)
                    self.spare = norm(8)
            """,
            "no image reaches the norm that is made as number 3",
        ),
        (
            """
            class net(Net):
                def maps(self, x):
                    return super().maps(x) + self.norm1(x.mean(1, keepdim=True).expand(-1, 8, -1, -1)[:, :, :1, :1])
            """,
            r"needs one spatial_size, but norm number 1 reads maps of \(32, 32\) and of \(1, 1\)",
        ),
    ],
)
def test_a_size_that_no_image_shows_is_told_in_one_line(tmp_path: Path, code: str, problem: str) -> None:
    with pytest.raises(RegistryError, match=problem) as caught:
        seeded(stranger(tmp_path, LAYER_CHW + textwrap.dedent(code), "mine"))
    assert "\n" not in str(caught.value)


def test_lazy_modules_are_materialised_before_the_optimizer(tmp_path: Path) -> None:
    code = """
    class net(Net):
        def __init__(self, norm, num_classes, in_channels):
            super().__init__(norm, num_classes, in_channels)
            self.conv2, self.fc, self.drop = nn.LazyConv2d(8, 3), nn.LazyLinear(num_classes), nn.Dropout(0.5)

        def forward(self, x):
            return self.fc(self.drop(self.maps(x)).flatten(1))

    def mine(num_channels):
        return nn.LazyBatchNorm2d()
    """
    model = seeded(stranger(tmp_path, code, "mine"), (12, 8))
    assert model.fc.weight.shape == (4, 8 * 10 * 6)
    assert type(model.norm2) is nn.BatchNorm2d
    assert model.norm2.num_features == 8
    assert model.training
    assert not model.norm2.running_mean.any()  # zeros trained nothing
    first, second = (seeded(stranger(tmp_path / name, code, "mine"), (12, 8)).state_dict() for name in "ab")
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_lazy_norm_of_torch_takes_its_channels_from_the_image(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text('norms: {lazy: "torch.nn:LazyBatchNorm2d"}\n')
    model = seeded(load_registry(folder=tmp_path).resolve("resnet20_lazy"))
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms[:8]] == [16] * 7 + [32]
    assert {norm.eps for norm in norms} == {1e-5}
    own = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4))
    assert swap("it", own, Norm("lazy", nn.LazyBatchNorm2d), (3, 8, 8)) == "lazy instead of 1 GroupNorm"
    assert own[1].num_features == 4


def test_check_norm_gives_a_norm_what_it_names() -> None:
    check_norm(lambda num_channels, spatial_size: nn.LayerNorm([num_channels, *spatial_size]), batch_independent=True)


ACTNORM = """
class mine(nn.Module):
    def __init__(self, num_channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, num_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x):
        if self.training and not self.initialized:
            with torch.no_grad():
                self.bias.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.scale.copy_(1 / (x.std((0, 2, 3), keepdim=True) + 1e-5))
                self.initialized.fill_(True)
        return (x + self.bias) * self.scale
"""


def test_a_norm_that_sets_itself_by_its_first_batch_is_trained(tmp_path: Path) -> None:
    run, _ = benched(tmp_path, stranger(tmp_path, ACTNORM, "mine"))
    weights = load_file(run.folder.weights)
    assert weights["norm1.initialized"]
    assert weights["norm2.scale"].std() > 0
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    namespace: dict[str, Any] = {"nn": nn, "torch": torch}
    exec(ACTNORM, namespace)
    swap("it", model, Norm("act", namespace["mine"]), (3, 8, 8))
    assert not model[1].initialized  # zeros that the swap shows it set nothing


def test_processes_do_not_share_the_batch_by_which_a_norm_sets_itself(tmp_path: Path) -> None:
    model = stranger(tmp_path, ACTNORM, "mine")
    with pytest.raises(RegistryError, match="sets itself by its first batch, of which each of 2 processes has another"):
        check_model(model, build(model), CPU, Distributed(0, 2))


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('self.register_buffer("initialized", torch.tensor(False))', "self.initialized = False", "changes the values"),
        ("self.initialized.fill_(True)", "pass", "changes the values of parameter 'norm1.scale'"),  # it never ends
    ],
)
def test_a_norm_that_does_not_say_so_may_not_set_itself(tmp_path: Path, before: str, after: str, problem: str) -> None:
    code = ACTNORM.replace(before, after).replace("self.initialized.fill_(True)", "self.initialized |= True")
    with pytest.raises(RegistryError, match=problem):
        benched(tmp_path, stranger(tmp_path, code, "mine"))


def test_check_norm_passes_a_norm_that_sets_itself_by_its_first_batch() -> None:
    namespace: dict[str, Any] = {"nn": nn, "torch": torch}
    exec(ACTNORM, namespace)
    check_norm(namespace["mine"])
