"""AlternatingFlip: each image both ways in two epochs, whatever its position, in either executor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.data.augment.flips import alternating_flips
from zoo.data.augment.spec import parse
from zoo.data.loader import Batching, TrainLoader
from zoo.errors import UnknownNameError
from zoo.recipes.load import load_recipe
from zoo.utils.distributed import SINGLE_PROCESS

COUNT = 300
LIST = [{"AlternatingFlip": {}}, {"Normalize": {"mean": [0, 0, 0], "std": [1, 1, 1], "max_pixel_value": 1}}]


def test_first_epoch_is_a_fair_coin_and_the_next_its_other_side() -> None:
    rows = np.arange(20000)
    first, second, third = (alternating_flips(3, epoch, rows) for epoch in range(3))
    assert abs(first.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(rows))
    assert np.array_equal(second, ~first)
    assert np.array_equal(third, first)
    assert 0.4 < (alternating_flips(4, 0, rows) ^ first).mean() < 0.6
    assert np.array_equal(alternating_flips(3, 0, rows[17:40]), first[17:40])  # not what else is asked for


def which_way(executor: str, seed: int, epoch: int, workers: int = 0) -> np.ndarray:
    """(COUNT,) by image: 1 where it was mirrored. Image r is r in its left half and 255 in its right half."""
    images = np.full((COUNT, 8, 8, 3), 255, dtype=np.uint8)
    images[:, :, :4] = (np.arange(COUNT) % 250)[:, None, None, None]
    loader = TrainLoader(
        images, np.arange(COUNT), LIST, Batching(32, seed, SINGLE_PROCESS, drop_last=False), executor=executor,
        workers=workers,
    )  # fmt: skip
    ways = np.full(COUNT, -1)
    for x, y in loader.epoch(epoch):
        ways[y.numpy()] = (x[:, 0, 0, 0] == 255).numpy()
    loader.close()
    assert set(ways) == {0, 1}
    return ways


@pytest.mark.parametrize("executor", ["batched", "albumentations"])
def test_both_executors_mirror_the_same_images(executor: str) -> None:
    for epoch in (0, 1, 7):
        expected = alternating_flips(5, epoch, np.arange(COUNT))
        assert np.array_equal(which_way(executor, 5, epoch), expected)
    assert np.array_equal(which_way("albumentations", 5, 0, workers=2), alternating_flips(5, 0, np.arange(COUNT)))


def test_of_a_subset_it_is_the_place_in_the_subset_that_counts() -> None:
    images = np.zeros((COUNT, 8, 8, 3), dtype=np.uint8)
    images[:, :, 4:] = 255
    indices = np.arange(50, 200)
    seen = {}
    for executor in ("batched", "albumentations"):
        loader = TrainLoader(
            images,
            np.arange(COUNT),
            LIST,
            Batching(50, 1, SINGLE_PROCESS),
            executor=executor,
            indices=indices,
        )
        seen[executor] = {int(label): bool(x[0, 0, 0] == 255) for xs, ys in loader.epoch(0)
                          for x, label in zip(xs, ys, strict=True)}  # fmt: skip
    assert seen["batched"] == seen["albumentations"]
    expected = dict(zip(indices.tolist(), alternating_flips(1, 0, np.arange(150)).tolist(), strict=True))
    assert seen["batched"] == expected


def test_it_takes_no_arguments() -> None:
    with pytest.raises(UnknownNameError, match=r"AlternatingFlip takes no arguments$"):
        parse([{"AlternatingFlip": {"p": 0.5}}], "recipe x, train")


def test_pixels_are_the_image_or_its_mirror_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    loader = TrainLoader(images, np.arange(64), LIST, Batching(64, 0, SINGLE_PROCESS), executor="batched")
    ((x, y),) = loader.epoch(1)
    flips = alternating_flips(0, 1, y.numpy())
    whole = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float()[y]
    expected = torch.where(torch.from_numpy(flips)[:, None, None, None], whole.flip(3), whole)
    assert torch.equal(x, expected)


def test_a_recipe_names_it_like_any_other() -> None:
    recipe = load_recipe("smoke", ["augment.train=[AlternatingFlip: {}]"])
    assert recipe.augment.train == [{"AlternatingFlip": {}}]
