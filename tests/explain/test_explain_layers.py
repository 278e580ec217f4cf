"""Which layers are found in a model, and what is said of its norms, against cases worked by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.builder.construct import build
from zoo.errors import ResultError, UnknownNameError
from zoo.explain.layers import NormStatistics, check_layers, norm_layers, places, stages, statistics
from zoo.registry.merge import load_registry

REGISTRY = load_registry()


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(REGISTRY.resolve(name)).eval()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("resnet20_bn", ["layer2", "layer3"]),
        ("resnet18_evos0", ["layer2", "layer3"]),
        ("preact_resnet18_bn", ["layer2", "layer3"]),
        ("wrn16_4_in", ["layer2", "layer3"]),  # not the last norm, though that is of 8x8 too and runs later
        ("resnet9_w32_bn", ["layer1", "layer2"]),
        ("vgg16_ln", ["layer1", "layer2"]),
        ("mobilenetv2_bn", ["layer3", "layer5"]),
        ("airbench94_bn", ["layer1", "layer2"]),
    ],
)
def test_stages(name: str, wanted: list[str]) -> None:
    found = places(made(name), torch.zeros(1, 3, 32, 32))
    assert stages(found, 32) == wanted
    sizes = {place.name: place.shape[1:] for place in found}
    less = name.startswith("airbench")  # its first convolution takes a pixel
    assert [sizes[layer] for layer in wanted] == [(16 - less, 16 - less), (8 - less, 8 - less)]


def test_stages_of_other_models() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 32 * 32, 10))
    assert stages(places(flat, torch.zeros(1, 3, 32, 32)), 32) == ["1"]
    blind = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    assert stages(places(blind, torch.zeros(1, 3, 32, 32)), 32) == []
    assert stages(places(made("resnet20_bn"), torch.zeros(1, 3, 16, 16)), 16) == ["layer2", "layer3"]


class Shared(nn.Module):
    """One ReLU in two places, as in torchvision's ResNets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv2(self.relu(self.conv1(x)))).mean((2, 3)))


def test_asked_layers() -> None:
    model = Shared()
    found = places(model, torch.zeros(1, 3, 32, 32))
    assert check_layers(["conv2", "conv1"], found, model, "shared") == ["conv2", "conv1"]
    with pytest.raises(UnknownNameError, match=r"unknown layer 'conv3' .*did you mean 'conv2' or 'conv1'\?"):
        check_layers(["conv3"], found, model, "shared")
    with pytest.raises(ResultError, match=r"layer 'fc' of shared has no spatial output"):
        check_layers(["conv1", "fc"], found, model, "shared")
    with pytest.raises(ResultError, match="layer 'relu' of shared runs 2 times in a pass"):
        check_layers(["relu"], found, model, "shared")


@pytest.mark.parametrize("norm", sorted(REGISTRY.norms))
def test_every_norm_is_found_and_measured(norm: str) -> None:
    model = made(f"resnet20_{norm}")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # SkipInit starts with branches that give no gradient
    names = norm_layers(REGISTRY.resolve(f"resnet20_{norm}"), model)
    assert len(names) == 19
    assert {name.split(".")[-1] for name in names} == {"norm1", "norm2"}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [(torch.randn(4, 3, 32, 32), torch.arange(4))]
    told = statistics(model, names, batches, REGISTRY.norms[norm].activation == "included")
    assert [one.name for one in told] == names  # the order of the definition is that of the forward pass
    assert all(one.dead is not None and 0 <= one.dead <= 1 for one in told)
    assert all(one.gradient > 0 for one in told)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_norms_of_a_builder_that_the_registry_does_not_know(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "registry.yaml").write_text('models:\n  theirs: {builder: "their_model:make"}\n')
    (tmp_path / "their_model.py").write_text(
        "from torch import nn\n\n\nclass OwnNorm(nn.Identity):\n    pass\n\n\ndef make(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), OwnNorm(), nn.GroupNorm(2, 8),"
        " nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    model = load_registry().resolve("theirs")
    assert norm_layers(model, build(model)) == ["1", "2", "3"]


class Scale(nn.Module):
    """A "norm" whose output is known: the image's channels times given numbers."""

    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.factors = torch.tensor(factors).view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


class Block(nn.Module):
    """A norm before a ReLU, one at the end of a residual branch, and one that meets only a convolution."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.act = Scale(1, -1), nn.ReLU(inplace)
        self.second, self.last, self.conv = Scale(-1, -1), Scale(2, 2), nn.Conv2d(2, 3, 2, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = F.relu(self.second(x) + 3 * x)
        return F.relu(self.conv(self.last(x))).flatten(1)


@pytest.mark.parametrize("inplace", [False, True])
def test_statistics_by_hand(inplace: bool) -> None:
    """All pixels are above 0: the negated channel is dead after the first ReLU, and stays 0 in the sum.

    Channel 0 is dead by its own sign after `second`, but alive once the shortcut is added. `last` reaches no
    activation but through a convolution, so it has no share. All logits are equal, so the softmax is 1/3 each and the
    three equal filters take the loss' gradients (1/3 - 1) + 1/3 + 1/3 = 0: nothing arrives at any norm.
    """
    images = torch.tensor([[1.0, 3.0]]).repeat(2, 4).view(2, 2, 2, 2)
    told = {
        one.name: one
        for one in statistics(Block(inplace), ["first", "second", "last"], [(images, torch.zeros(2).long())], False)
    }
    assert told["first"] == NormStatistics("first", 2, 0.0, 5**0.5, 0.5, told["first"].gradient)
    assert told["second"] == NormStatistics("second", 2, -1.0, pytest.approx(1.5**0.5), 0.5, told["second"].gradient)
    assert (told["last"].mean, told["last"].dead) == (4.0, None)
    assert all(one.gradient == pytest.approx(0, abs=1e-6) for one in told.values())


def test_the_gradient_by_hand() -> None:
    """Two logits, y and 0, from a norm's output y of one pixel: the gradient of the loss of class 0 is sigmoid(y) - 1.

    For y = 0 it is -1/2; two batches of one and of three images give the same figure as one batch of four.
    """
    model = nn.Sequential(Scale(1.0), nn.Flatten(), nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0], [0.0]]))
    values = torch.tensor([0.0, 1.0, 2.0, -3.0]).view(4, 1, 1, 1)
    wanted = float((values.sigmoid() - 1).square().mean().sqrt())
    for parts in ([4], [1, 3]):
        batches = [(part, torch.zeros(len(part)).long()) for part in values.split(parts)]
        (told,) = statistics(model, ["0"], batches, False)
        assert told.gradient == pytest.approx(wanted, rel=1e-6)
        assert (told.mean, told.dead) == (0.0, None)
    assert statistics(model, ["0"], [(values[:1], torch.zeros(1).long())], False)[0].gradient == pytest.approx(0.5)


def test_a_norm_that_activates_counts_by_its_own_output() -> None:
    model = nn.Sequential(Scale(1.0, -1.0), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(2, 2))
    batch = [(torch.ones(1, 2, 1, 1), torch.zeros(1).long())]
    assert statistics(model, ["0"], batch, included=True)[0].dead == 0.5
    assert statistics(model, ["0"], batch, included=False)[0].dead is None
