"""The network of airbench94: its whitening, and how its convolutions start."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from zoo.builder.construct import build
from zoo.errors import RegistryError
from zoo.models.airbench import Whitening
from zoo.models.patch_covariance import PATCH_COVARIANCE
from zoo.registry.merge import load_registry

RGB = torch.tensor(PATCH_COVARIANCE, dtype=torch.float64)


@pytest.mark.parametrize("channels", [3, 1])
def test_outputs_are_uncorrelated_each_with_its_negative(channels: int) -> None:
    whiten = Whitening(channels)
    half = 4 * channels
    filters = whiten.weight.detach().double().flatten(1)
    grey = torch.eye(4, dtype=torch.float64).repeat(1, 3) / 3
    covariance = RGB if channels == 3 else grey @ RGB @ grey.T
    torch.testing.assert_close(filters[half:], -filters[:half])
    made = filters[:half] @ covariance @ filters[:half].T
    torch.testing.assert_close(made, made.diag().diag(), rtol=0, atol=1e-5)
    assert made.diag().max() == pytest.approx(1, abs=1e-3)
    assert made.diag().min() > 0.15  # what JPEG has all but removed is not blown up to 1
    assert not whiten.weight.requires_grad
    assert whiten.bias.requires_grad


def test_three_colours_or_grey() -> None:
    model = load_registry().resolve("airbench94_ln")
    with pytest.raises(RegistryError, match="in_channels 4 is not built here; choose one of 3, 1"):
        build(model, in_channels=4)


@pytest.mark.parametrize("depths", [[2, 2], [2, 2, 2.5], [2, 0, 2]])
def test_three_depths(depths: list) -> None:
    model = load_registry().resolve("airbench94_d223_bn")
    wrong = replace(model, architecture=replace(model.architecture, kwargs={"depths": depths}))
    with pytest.raises(RegistryError, match=re.escape(f"depths {depths} must be three whole numbers of 1 or more")):
        build(wrong)


def test_convolutions_start_as_the_identity() -> None:
    model = build(load_registry().resolve("airbench94_bn"))
    x = torch.randn(2, 64, 7, 7)
    torch.testing.assert_close(model.layer1[1].conv1(x), x)
    torch.testing.assert_close(model.layer2[0].conv1(x)[:, :64], x)
