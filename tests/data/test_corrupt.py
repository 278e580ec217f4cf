"""Corruptions: the same pixels whatever else happens, and each severity further from the image than the one before."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.data.corrupt import CORRUPTIONS, SEVERITIES, choose, corrupt
from zoo.data.shapes10 import generate
from zoo.errors import UnknownNameError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """48 pictures with content at every scale."""
    return generate().splits["test"][0][:48]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_grow(images: np.ndarray, name: str) -> None:
    found = [corrupt(images, name, severity) for severity in SEVERITIES]
    assert all(item.shape == images.shape and item.dtype == np.uint8 for item in found)
    errors = [float(((item.astype(float) - images) ** 2).mean()) for item in found]
    assert errors[0] > 0
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pixels_depend_on_image_and_row_alone(images: np.ndarray, name: str) -> None:
    whole, before = corrupt(images, name, 3), images.copy()
    np.random.seed(5)  # noqa: NPY002  (global state must not matter)
    rows = np.array([40, 3, 17])
    assert np.array_equal(corrupt(images, name, 3, rows), whole[rows])
    assert np.array_equal(corrupt(images, name, 3), whole)
    assert np.array_equal(images, before)


def test_random_ones_differ_between_rows() -> None:
    flat = np.full((2, 32, 32, 3), 128, dtype=np.uint8)
    for name in ("noise", "shot", "impulse"):
        one, other = corrupt(flat, name, 3)
        assert not np.array_equal(one, other), name


def test_choose() -> None:
    assert choose(["blur", "noise", "blur"]) == ["blur", "noise"]
    assert choose(["all"]) == list(CORRUPTIONS)
    with pytest.raises(UnknownNameError, match=r"unknown corruption 'blurr'.*did you mean 'blur'"):
        choose(["blurr"])
    with pytest.raises(IndexError, match="severity 6 is not 1 to 5"):
        corrupt(np.zeros((1, 32, 32, 3), dtype=np.uint8), "blur", 6)
