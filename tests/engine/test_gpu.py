"""What only a GPU can get wrong in data and training. Needs a GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from zoo.data.loader import TrainLoader
from zoo.recipe_file import load_recipe
from zoo.world import ALONE

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = "cuda"
RECIPES = ("standard", "laptop", "fast", "eva6s8")


@pytest.mark.parametrize("recipe", RECIPES)
def test_batches_are_those_of_a_cpu_to_the_bit(recipe: str) -> None:
    g = np.random.Generator(np.random.Philox(key=1))
    pictures = g.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    transforms = load_recipe(recipe, []).augment.train

    def batches(device: str) -> list[torch.Tensor]:
        loader = TrainLoader(
            pictures, np.arange(64), transforms, batch_size=16, seed=3, world=ALONE, device=device, executor="batched"
        )
        return [x.cpu() for x, _ in loader.epoch(2)]

    for there, here in zip(batches(GPU), batches("cpu"), strict=True):
        torch.testing.assert_close(there, here, rtol=0, atol=1e-5 if recipe == "eva6s8" else 0)  # it rotates


def test_an_epoch_waits_for_nothing() -> None:
    """Data and augmentation of `standard`: torch says so where anything on the host waits for the device."""
    pictures = np.zeros((64, 32, 32, 3), dtype=np.uint8)
    transforms = load_recipe("standard", []).augment.train
    loader = TrainLoader(pictures, np.arange(64), transforms, batch_size=16, seed=3, world=ALONE, device=GPU)
    list(loader.epoch(0))  # constants are copied once
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(loader.epoch(1))) == 4
    finally:
        torch.cuda.set_sync_debug_mode("default")


TINY = ("--set", "split.train=64", "--set", "split.holdout=32", "--set", "batch_size=16", "--set", "epochs=3")


def test_a_run_repeats_its_bits_where_asked_to(zoo_cli) -> None:
    """With --deterministic every weight is equal."""
    command = ("bench", "resnet20_ln", "--recipe", "smoke", *TINY, "--device", "cuda", "--deterministic")
    command += ("--layout", "channels_last")
    whole = zoo_cli(*command, "--runs", "whole")
    again = zoo_cli(*command, "--runs", "again")
    assert (whole.returncode, again.returncode) == (0, 0), whole.stderr + again.stderr
    one, two = (next((zoo_cli.folder / name).rglob("model.safetensors")).read_bytes() for name in ("whole", "again"))
    assert one == two
    told = json.loads(next((zoo_cli.folder / "whole").rglob("result.json")).read_text())
    assert told["environment"]["gpu"] == torch.cuda.get_device_name()
