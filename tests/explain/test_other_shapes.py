"""Grad-CAM and the statistics of norms for outputs that are no (N, C, H, W), and where gradients are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.explain.gradcam import grad_cam
from zoo.explain.grid import Grid, grid_of
from zoo.explain.layers import places, stages, statistics

IMAGES, SIZE = torch.zeros(2, 3, 32, 32), (32, 32)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((2, 6, 8, 8), Grid("maps", (6, 8, 8))),
        ((2, 8, 8, 6), Grid("channels last", (6, 8, 8))),
        ((2, 8, 8, 8), Grid("maps", (8, 8, 8))),
        ((2, 6, 8, 7), Grid("maps", (6, 8, 7))),  # a convolution that crops
        ((2, 64, 6), Grid("tokens", (6, 8, 8))),
        ((2, 65, 6), Grid("tokens", (6, 8, 8), 1)),
        ((2, 66, 6), Grid("tokens", (6, 8, 8), 2)),
        ((2, 1, 6), None),  # the class token alone
        ((2, 6, 1, 1), None),
        ((2, 60), None),
        ((2, 55, 6), Grid("tokens", (6, 7, 7), 6)),
        ((2, 47, 6), None),
        ((65, 2, 6), None),  # tokens first
        ((8, 16, 6), None),  # windows
        ((2,), None),
    ],
)
def test_grids(shape: tuple[int, ...], grid: Grid | None) -> None:
    output = torch.randn(shape)
    assert grid_of(output, IMAGES) == grid
    if grid:
        maps = grid.maps(output)
        assert maps.shape[1:] == grid.shape
        assert torch.equal(grid.back(maps, output), output)


def test_a_grid_has_the_proportions_of_the_image() -> None:
    wide = torch.zeros(1, 3, 16, 32)
    assert grid_of(torch.zeros(1, 33, 6), wide) == Grid("tokens", (6, 4, 8), 1)
    assert grid_of(torch.zeros(1, 4, 8, 6), wide) == Grid("channels last", (6, 4, 8))
    assert grid_of((torch.zeros(1, 6, 4, 8),), wide) is None


class Patches(nn.Module):
    """Two blocks of attention over patches; with a class token, whose answer is the logits, or the mean over places."""

    def __init__(self, token: bool) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 12)) if token else None
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(12, 2, 24, batch_first=True) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        if self.token is None:
            return self.head(self.norm(self.blocks(x)).mean(1))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.head(self.norm(self.blocks(x))[:, 0])


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 12, 4, stride=4), nn.LayerNorm(12)
        self.mix, self.head = nn.Linear(12, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.mix(self.norm(self.patch(x).permute(0, 2, 3, 1)))).mean((1, 2)))


class Vectors(nn.Module):
    """Activations of vectors, behind a norm of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(3 * 32 * 32, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(F.relu(self.first(x.flatten(1))))))


class Excited(nn.Module):
    """A convolution whose channels are weighted by linear layers, then fully connected ones, as in a VGG."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.head = nn.Sequential(nn.Linear(8 * 8 * 8, 16), nn.ReLU(inplace=True), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        weights = self.excite(F.relu(self.squeeze(x.mean((2, 3))))).sigmoid()
        return self.head((x * weights[:, :, None, None]).flatten(1))


class Cut(nn.Module):
    """The convolution keeps no graph."""

    def __init__(self, guard) -> None:
        super().__init__()
        self.conv, self.norm, self.guard = nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), guard
        self.after, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        with self.guard():
            x = self.norm(self.conv(x))
        return self.head(self.after(x.clone()).mean((2, 3)))


def chosen(model: nn.Module) -> list[str]:
    """As `zoo explain` chooses, on a random image."""
    image, target = torch.randn(1, 3, *SIZE), torch.zeros(1, dtype=torch.int64)
    usable = lambda name: grad_cam(model, name, image, target, SIZE) is not None  # noqa: E731
    return stages(places(model, image), 32, usable)


def measured(model: nn.Module, *names: str) -> list:
    return statistics(model, names, [(torch.randn(3, 3, *SIZE), torch.arange(3))], False)


def test_explain_on_transformers() -> None:
    """The patches behind the last block have no gradient where only the class token is read."""
    torch.manual_seed(0)
    model = Patches(token=True).eval()
    assert chosen(model) == ["blocks.0"]
    images, targets = torch.randn(2, 3, *SIZE), torch.tensor([1, 3])
    cam = grad_cam(model, "blocks.0", images, targets, (8, 8))
    tokens = model.patch(images).flatten(2).transpose(1, 2)
    output = model.blocks[0](torch.cat([model.token.expand(2, -1, -1), tokens], 1)).detach().requires_grad_()
    logits = model.head(model.norm(model.blocks[1](output))[:, 0])
    (gradient,) = torch.autograd.grad(logits[[0, 1], targets].sum(), output)
    wanted = (gradient[:, 1:].mean(1, keepdim=True) * output[:, 1:]).sum(2).relu().unflatten(1, (8, 8))
    np.testing.assert_allclose(cam, wanted.detach().numpy(), rtol=1e-4, atol=1e-6)
    (norm,) = measured(model, "norm")
    assert (norm.channels, norm.dead) == (12, None)
    assert norm.gradient > 0
    assert chosen(Patches(token=False).eval()) == ["blocks"]


def test_explain_on_channels_last_maps() -> None:
    torch.manual_seed(0)
    model = ChannelsLast().eval()
    assert chosen(model) == ["mix"]
    assert grad_cam(model, "mix", torch.randn(2, 3, *SIZE), torch.tensor([0, 1]), SIZE).shape == (2, *SIZE)
    (norm,) = measured(model, "norm")
    assert norm.channels == 12


def test_explain_on_linear_se_and_vgg_with_fc_layers() -> None:
    torch.manual_seed(0)
    model = Excited().eval()
    assert chosen(model) == ["norm"]
    (norm,) = measured(model, "norm")
    assert (norm.channels, norm.dead is not None) == (8, True)


def test_explain_on_vectors_alone() -> None:
    torch.manual_seed(0)
    model = Vectors().eval()
    assert chosen(model) == []
    (norm,) = measured(model, "norm")
    assert norm.channels == 8
    assert 0 <= norm.dead <= 1
    assert grad_cam(model, "norm", torch.randn(1, 3, *SIZE), torch.tensor([0]), SIZE) is None


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_explain_where_a_part_keeps_no_graph(guard) -> None:
    torch.manual_seed(0)
    model = Cut(guard).eval()
    assert chosen(model) == ["after"]
    (norm,) = measured(model, "norm")
    assert norm.gradient == 0


def test_explain_of_frozen_weights() -> None:
    torch.manual_seed(0)
    model = Excited().eval().requires_grad_(False)
    assert chosen(model) == ["norm"]
    (norm,) = measured(model, "norm")
    assert norm.gradient > 0


def test_a_part_that_is_compiled_gives_no_map() -> None:
    compiled = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()))
    model = nn.Sequential(compiled, nn.Conv2d(4, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert [place.name for place in places(model, IMAGES[:1])] == ["1"]
