"""Grad-CAM against its definition: by hand on a tiny network, by autograd on every norm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from zoo.builder.construct import build
from zoo.explain.gradcam import grad_cam
from zoo.registry.merge import load_registry

NORMS = sorted(load_registry().norms)


def tiny(inplace: bool) -> nn.Sequential:
    """Two 1x1 filters, ReLU, and a linear layer over all 2x2 pixels of both: small enough for a sheet of paper."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(inplace), nn.Flatten(), nn.Linear(8, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        model[3].weight.copy_(torch.tensor([[1.0, 2, 3, 4, 0, 0, 0, -4], [-1, -1, -1, -1, 8, 0, 0, 0]]))
    return model.eval()


@pytest.mark.parametrize("inplace", [False, True])
def test_by_hand(inplace: bool) -> None:
    """The image [[1, -2], [3, -4]] has channels [[1, 0], [3, 0]] and [[0, 2], [0, 4]] after the ReLU.

    Class 0: mean gradients (1 + 2 + 3 + 4) / 4 = 2.5 and -4 / 4 = -1, so 2.5 * first - second, without what is below 0.
    Class 1: -1 and 8 / 4 = 2, so 2 * second - first.
    """
    image = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]])
    maps = grad_cam(tiny(inplace), "1", image.repeat(2, 1, 1, 1), torch.tensor([0, 1]), (2, 2))
    np.testing.assert_allclose(maps, [[[2.5, 0], [7.5, 0]], [[0, 4], [0, 8]]])


def test_at_a_layer_before_an_activation_in_place() -> None:
    """At the convolution a pixel counts by its value before the ReLU, which must not have overwritten it.

    Gradients at the first channel are those behind the ReLU where it is open: (1 + 3) / 4 = 1; at the second -4 / 4.
    The channels before the ReLU are [[1, -2], [3, -4]] and its negative, so the map of class 0 is twice the image.
    """
    image = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]])
    for inplace in (False, True):
        maps = grad_cam(tiny(inplace), "0", image, torch.tensor([0]), (2, 2))
        np.testing.assert_allclose(maps, [[[2, 0], [6, 0]]])


def test_it_is_brought_to_the_size_of_the_image_linearly() -> None:
    image = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]])
    (bigger,) = grad_cam(tiny(False), "1", image, torch.tensor([0]), (4, 4))
    rows = np.array([2.5, 2.5 + 0.25 * 5, 2.5 + 0.75 * 5, 7.5])  # between pixel centres, flat outside of them
    np.testing.assert_allclose(bigger, np.outer(rows, [1, 0.75, 0.25, 0]), rtol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_by_its_definition(norm: str) -> None:
    torch.manual_seed(0)
    model = build(load_registry().resolve(f"resnet20_{norm}")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # SkipInit starts with branches of zero
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, targets = torch.randn(2, 3, 32, 32), torch.tensor([3, 7])
    kept = {}
    handle = model.layer2.register_forward_hook(lambda module, inputs, output: kept.setdefault("layer", output))
    logits = model(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[[0, 1], targets].sum(), kept["layer"])
    wanted = (gradient.mean((2, 3), keepdim=True) * kept["layer"]).sum(1).relu().detach().numpy()
    assert wanted.max() > 0
    np.testing.assert_allclose(grad_cam(model, "layer2", images, targets, (16, 16)), wanted, rtol=1e-3, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
