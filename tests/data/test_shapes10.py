"""The generated set: the same bytes everywhere, balanced, and no class given away by colour or brightness."""

from __future__ import annotations

import time

import numpy as np
import pytest

from zoo.data import shapes10
from zoo.data.datasets import load
from zoo.data.listing import Listing

PINNED = "ec3f3faf9bdfd57f4de3685cdb22f942753293f27db66c90181ec12175a07506"


@pytest.fixture(scope="module")
def generated() -> tuple[Listing, float]:
    start = time.process_time()  # of this process alone, whatever else runs
    decoded = shapes10.generate()
    return decoded, time.process_time() - start


def test_fingerprint_is_pinned() -> None:
    assert load("shapes10").fingerprint == PINNED


def test_shape_and_balance(generated: tuple[Listing, float]) -> None:
    for split, count in (("train", 5000), ("test", 1000)):
        part = generated[0].splits[split]
        (images,), labels = part.blocks(), part.labels
        assert images.shape == (count, 32, 32, 3)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert np.bincount(labels).tolist() == [count // 10] * 10


def test_generation_is_quick(generated: tuple[Listing, float]) -> None:
    assert generated[1] < 10  # seconds; 1.4 measured on an idle core


def test_images_differ_within_and_across_splits(generated: tuple[Listing, float]) -> None:
    everything = np.concatenate([block for part in generated[0].splits.values() for block in part.blocks()])
    assert len({image.tobytes() for image in everything}) == 6000


def test_mean_colour_does_not_give_the_class_away(generated: tuple[Listing, float]) -> None:
    """A nearest-mean classifier on colour statistics of the image is near chance (10 %)."""
    features = {}
    for split, part in generated[0].splits.items():
        pixels = np.concatenate(list(part.blocks())).reshape(len(part.labels), -1, 3) / 255
        features[split] = np.concatenate([pixels.mean(1), pixels.std(1)], axis=1), part.labels
    train, labels = features["train"]
    centres = np.stack([train[labels == c].mean(0) for c in range(10)])
    test, test_labels = features["test"]
    guess = ((test[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (guess == test_labels).mean() < 0.2


def test_every_form_is_drawn_and_differs() -> None:
    """At one place, size and turn, each class covers a fair part of the image, and no two cover the same part."""
    axis = np.arange(-1500, 1501, 50, dtype=np.int32)
    u, v = np.meshgrid(axis, axis)
    masks = [form(u, v) for form in shapes10._FORMS]
    assert len(masks) == len(shapes10.CLASSES) == 10
    for i, mask in enumerate(masks):
        assert 0.05 < mask.mean() < 0.5
        assert not mask[0].any()  # ends inside of the frame
        for other in masks[:i]:
            assert (mask != other).mean() > 0.03
