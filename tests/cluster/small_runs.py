"""Runs that cost next to nothing: a model of one convolution on a folder of noisy images, found by a registry file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

REGISTRY = """
architectures:
  dot: "dots:dot"
"""
BUILDER = """
from torch import nn


def dot(norm, num_classes, in_channels):
    return nn.Sequential(
        norm.conv2d(in_channels, 16, 3, stride=4), norm(16), norm.act(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


def options(epochs: int) -> tuple[str, ...]:
    """Of ``zoo bench``, in a folder that :func:`furnish` made."""
    settings = ("split.train=32", "split.holdout=8", "batch_size=16", f"epochs={epochs}", "schedule.peak_epoch=1")
    changes = (word for setting in settings for word in ("--set", setting))
    return ("--recipe", "smoke", *changes, "--dataset", "./images", "--layout", "nchw")


def furnish(folder: Path) -> None:
    """Give `folder` the model ``dot_<norm>`` and two classes of 20 images to train on and 8 to test."""
    (folder / "registry.yaml").write_text(REGISTRY)
    (folder / "dots.py").write_text(BUILDER)
    random = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 8)):
        for label, mean in (("dark", 80), ("light", 170)):
            (folder / "images" / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.normal(mean, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "images" / split / label / f"{number}.png")
