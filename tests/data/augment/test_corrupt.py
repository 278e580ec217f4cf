"""Corruptions: the same pixels whatever else happens, and each severity further from the image than the one before."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from zoo.data.augment.corrupt import CORRUPTIONS, SEVERITIES, choose, corrupt
from zoo.data.datasets import load
from zoo.errors import UnknownNameError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """48 pictures with content at every scale."""
    return load("shapes10").test.images[:48]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_grow(images: np.ndarray, name: str) -> None:
    found = [corrupt(images, name, severity) for severity in SEVERITIES]
    assert all(item.shape == images.shape and item.dtype == np.uint8 for item in found)
    errors = [float(((item.astype(float) - images) ** 2).mean()) for item in found]
    assert errors[0] > 0
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0]


def test_severities_grow_on_real_images(zoo_data: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(zoo_data / "cifar10-jpeg" / "test-00000-of-00001.parquet")
    rows = next(table.iter_batches(batch_size=60, columns=["img"])).to_pylist()
    photographs = np.stack([np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))) for row in rows])
    for name in CORRUPTIONS:
        found = [corrupt(photographs, name, severity).astype(float) for severity in SEVERITIES]
        errors = [0.0, *(float(np.square(item - photographs).mean()) for item in found)]
        assert all(np.diff(errors) > 0), f"{name}: {errors}"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pixels_depend_on_image_and_row_alone(images: np.ndarray, name: str) -> None:
    whole, before = corrupt(images, name, 3), images.copy()
    np.random.seed(5)  # noqa: NPY002  (global state must not matter)
    cv2.setRNGSeed(5)  # nor OpenCV's own, which some transforms draw from
    rows = np.array([40, 3, 17])
    assert np.array_equal(corrupt(images, name, 3, rows), whole[rows])
    assert np.array_equal(corrupt(images, name, 3), whole)
    assert np.array_equal(images, before)


def test_random_ones_differ_between_rows() -> None:
    flat = np.full((2, 32, 32, 3), 128, dtype=np.uint8)
    for name in ("noise", "shot", "impulse", "fog"):
        one, other = corrupt(flat, name, 3)
        assert not np.array_equal(one, other), name


def test_noise_is_drawn_anew_for_every_severity() -> None:
    """Not one pattern that is only scaled: else the five severities of an image would share their luck."""
    grey = np.full((1, 32, 32, 3), 128, dtype=np.uint8)
    patterns = [(corrupt(grey, "noise", severity)[0].astype(float) - 128).ravel() for severity in SEVERITIES]
    assert np.abs(np.corrcoef(patterns) - np.eye(5)).max() < 0.1
    spread = [pattern.std() / 255 for pattern in patterns]
    assert spread == pytest.approx([0.02, 0.04, 0.07, 0.10, 0.14], rel=0.1)


def test_contrast_leaves_middle_grey_and_saturation_five_is_grey(images: np.ndarray) -> None:
    grey = np.full((1, 8, 8, 3), 128, dtype=np.uint8)
    for severity in SEVERITIES:
        assert np.abs(corrupt(grey, "contrast", severity).astype(int) - 128).max() <= 1
    assert np.ptp(corrupt(images, "saturation", 5).astype(int), axis=3).max() <= 1


def test_images_of_another_size_from_a_read_only_map(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pictures)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for name in CORRUPTIONS:
        assert corrupt(mapped, name, 4).shape == pictures.shape
    assert np.array_equal(mapped, pictures)


def test_choose() -> None:
    assert choose(["blur", "noise", "blur"]) == ["blur", "noise"]
    assert choose(["all"]) == list(CORRUPTIONS)
    with pytest.raises(UnknownNameError, match=r"unknown corruption 'blurr'.*did you mean 'blur'"):
        choose(["blurr"])
    with pytest.raises(IndexError, match="severity 6 is not 1 to 5"):
        corrupt(np.zeros((1, 32, 32, 3), dtype=np.uint8), "blur", 6)
