"""Images of several sizes, resized as they are decoded to the size that a recipe names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from zoo.data.listing import in_memory
from zoo.data.readers.decode import decode_blocks, first_size
from zoo.errors import DataError


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def test_pictures_are_resized_as_they_are_decoded(files) -> None:
    images = [files.pictures(1, size)[0] for size in ((8, 8), (16, 12), (5, 30), (8, 8))]
    rows, sizes = [files.encode(image) for image in images], set()
    assert first_size(rows[0], "here", None, (10, 7)) == (10, 7)
    blocks = np.concatenate(list(decode_blocks(iter(rows), (10, 7), str, sizes)))
    assert np.array_equal(blocks, [resized(image, (10, 7)) for image in images])
    assert sizes == {(8, 8), (16, 12), (5, 30)}
    same = np.concatenate(list(decode_blocks(iter([rows[0]] * 3), (8, 8), str, set())))
    assert np.array_equal(same, [images[0]] * 3)  # of that size already: their own bytes


def test_the_name_still_promises_the_size_of_the_files(files) -> None:
    with pytest.raises(DataError, match="image of 8x8 pixels, but the name of the data set promises 32x32"):
        first_size(files.encode(files.pictures(1)[0]), "here", 32, (16, 16))


def test_large_pictures_are_resized_in_threads_in_their_order(files) -> None:
    images = files.pictures(40, (200, 300))
    rows = [files.encode(image, "BMP") for image in images]
    blocks = np.concatenate(list(decode_blocks(iter(rows), (9, 9), str, set())))
    assert np.array_equal(blocks, [resized(image, (9, 9)) for image in images])


def test_images_in_memory_are_resized_alike(files) -> None:
    images = files.pictures(3, (8, 6))
    part = in_memory(images, np.arange(3), (4, 4))
    assert part.shape == (3, 4, 4, 3)
    assert np.array_equal(np.concatenate(list(part.blocks())), [resized(image, (4, 4)) for image in images])
    assert part.sizes == {(8, 6)}
    assert in_memory(images, np.arange(3), (8, 6)).sizes == set()
