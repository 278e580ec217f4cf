"""The constant that architectures whiten by is the covariance of real training images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.data.datasets import load
from zoo.models.patch_covariance import PATCH_COVARIANCE
from zoo.recipes.load import load_recipe


def patches(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * (H - 1) * (W - 1), 4 * C), the index of a value being 4 * channel + 2 * row + column."""
    return images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 4 * images.shape[1])


@pytest.mark.slow
def test_the_constant_is_that_of_the_training_images(zoo_data: Path) -> None:
    pixels = load("cifar10-jpeg", zoo_data).train.images[:10_000]
    (normalize,) = (item["Normalize"] for item in load_recipe("standard").augment.eval)
    mean, std = (torch.tensor(normalize[key], dtype=torch.float64) for key in ("mean", "std"))
    images = (torch.from_numpy(pixels.copy()).double() / 255 - mean) / std
    found = patches(images.permute(0, 3, 1, 2))
    assert (
        torch.tensor(PATCH_COVARIANCE, dtype=torch.float64).sub(found.T @ found / len(found)).abs().max() < 0.02
    )  # a fifth of the images
