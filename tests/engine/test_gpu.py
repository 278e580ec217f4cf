"""What only a GPU can get wrong in data and training. Needs a GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from zoo.builder.construct import build
from zoo.data.loader import Batching, TrainLoader
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.engine.throughput import measure_training
from zoo.recipes.load import load_recipe
from zoo.registry.merge import load_registry
from zoo.utils.distributed import SINGLE_PROCESS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = "cuda"
RECIPES = ("standard", "laptop", "fast", "eva6s8")


@pytest.mark.parametrize("recipe", RECIPES)
def test_batches_are_those_of_a_cpu(recipe: str) -> None:
    """To the bit, but where `eva6s8` rotates: there a value next to one half may be rounded to the other level."""
    g = np.random.Generator(np.random.Philox(key=1))
    pictures = g.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    transforms = load_recipe(recipe, []).augment.train

    def batches(device: str) -> list[torch.Tensor]:
        loader = TrainLoader(
            pictures,
            np.arange(64),
            transforms,
            Batching(16, 3, SINGLE_PROCESS),
            device=device,
            executor="batched",
        )
        return [x.cpu() for x, _ in loader.epoch(2)]

    for there, here in zip(batches(GPU), batches("cpu"), strict=True):
        apart = (there - here).abs()
        assert (apart > 0).float().mean() <= (1e-3 if recipe == "eva6s8" else 0)
        assert apart.max() <= 1.01 / 255 / 0.24  # of one level, normalised


def test_an_epoch_waits_for_nothing() -> None:
    """Data, augmentation and steps of `standard`: torch raises where the host waits for the device."""
    pictures = np.zeros((64, 32, 32, 3), dtype=np.uint8)
    recipe, device = load_recipe("standard", ["precision=bf16"]), torch.device(GPU)
    loader = TrainLoader(
        pictures,
        np.arange(64) % 10,
        recipe.augment.train,
        Batching(16, 3, SINGLE_PROCESS),
        device=device,
    )
    model = build(load_registry().resolve("resnet20_bn")).to(device)
    step = TrainStep(model, make_optimizer(model, recipe.optimizer), recipe, device, distributed=SINGLE_PROCESS)

    def epoch(number: int) -> int:
        return len([step(images, labels, 0.5) for images, labels in loader.epoch(number)])

    epoch(0)  # constants are copied once
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert epoch(1) == 4
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_memory_of_a_speed_is_that_of_one_training() -> None:
    """Weights, gradients and momentum of one network, not of the one beside it that takes the bare steps."""
    recipe, device = load_recipe("standard", ["precision=fp32", "batch_size=16"]), torch.device(GPU)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 8192), torch.nn.Linear(8192, 10))
    weights = sum(parameter.nbytes for parameter in model.parameters())

    def loader(count: int) -> TrainLoader:
        return TrainLoader(
            np.zeros((count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 10, recipe.augment.train,
            Batching(16, 3, SINGLE_PROCESS), device=device,
        )  # fmt: skip

    found = measure_training(
        model.to(device), recipe, loader, device=device, layout="nchw", compiled=False, seconds=0.2
    )
    assert 3 * weights <= found.device_peak_bytes < 4 * weights


TINY = ("--set", "split.train=64", "--set", "split.holdout=32", "--set", "batch_size=16", "--set", "epochs=3")


def test_a_run_repeats_its_bits_where_asked_to(zoo_cli) -> None:
    """With --deterministic every weight is equal."""
    command = ("bench", "resnet20_ln", "--recipe", "smoke", *TINY, "--device", GPU, "--deterministic")
    command += ("--layout", "channels_last")
    whole = zoo_cli(*command, "--runs", "whole")
    again = zoo_cli(*command, "--runs", "again")
    assert (whole.returncode, again.returncode) == (0, 0), whole.stderr + again.stderr
    one, two = (next((zoo_cli.folder / name).rglob("model.safetensors")).read_bytes() for name in ("whole", "again"))
    assert one == two
    told = json.loads(next((zoo_cli.folder / "whole").rglob("result.json")).read_text())
    assert told["environment"]["gpu"] == torch.cuda.get_device_name()
