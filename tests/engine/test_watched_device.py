"""A training on a device that is not there: how many operations the loop asks of it, and what the host waits for.

Of the pairs of the built-in registry, each architecture, each norm and each recipe is here once; all are ``-m slow``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from watched_device import META, Watched, fused

import zoo.recipes
from zoo.builder.construct import build
from zoo.data.loader import Batching, EvalLoader, TrainLoader
from zoo.engine.evaluate import evaluate
from zoo.engine.reporter import Reporter
from zoo.engine.train import Batches, _Session, train_epoch
from zoo.recipes.load import load_recipe
from zoo.registry.entries import read_registry_file
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN
from zoo.utils.distributed import SINGLE_PROCESS

__all__ = ["fused"]
REGISTRY = Registry([read_registry_file(BUILT_IN.resolve(), "built in")])
NORMS, ARCHITECTURES = list(REGISTRY.norms), list(REGISTRY.architectures)
RECIPES = sorted(
    (path.stem for path in Path(zoo.recipes.__file__).parent.glob("*.yaml")), key=lambda name: (name == "fast", name)
)
CHOSEN = [
    (name, NORMS[number % len(NORMS)], RECIPES[(number + 1) % (len(RECIPES) - 1)] if "airbench" not in name else "fast")
    for number, name in enumerate(ARCHITECTURES)
]


def loader(recipe: Any, batches: int, device: torch.device | str = META) -> TrainLoader:
    count = batches * recipe.batch_size
    images = np.broadcast_to(np.uint8(0), (count, 32, 32, 3))
    return TrainLoader(
        images, np.arange(count) % 10, recipe.augment.train, Batching(recipe.batch_size, 0, SINGLE_PROCESS),
        device=device, channels_last=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_augmentation_batch_by_batch_on_a_gpu(name: str) -> None:
    """At most 15 operations a step, since blocks of 8,192 images are augmented at once; copies are an epoch's, not a
    step's, and the host waits for none of them.
    """
    recipe = load_recipe(name, [])
    steps = 2 * 8192 // recipe.batch_size
    batches = loader(recipe, steps)
    assert sum(1 for _ in batches.epoch(0)) == steps  # constants are copied once
    with Watched() as seen:
        assert sum(1 for _ in batches.epoch(1)) == steps
    assert (seen.waits, seen.faults) == (Counter(), Counter())
    assert seen.operations.total() <= 15 * steps
    assert seen.transfers.total() <= 8  # the order, and a column for each random number


def watch(name: str, recipe_name: str) -> None:
    """An epoch of one batch, and the evaluation of another."""
    recipe = load_recipe(recipe_name, ["precision=fp32", "batch_size=4"])
    batches = loader(recipe, 1)
    held_out = EvalLoader(
        np.zeros((4, 32, 32, 3), np.uint8), np.arange(4), recipe.augment.eval, batch_size=4, device=META
    )
    list(batches.epoch(0)), list(held_out)  # constants are copied once
    with Watched():
        session = _Session(build(REGISTRY.resolve(name)).to(META), recipe, Batches(batches, None), META, compiled=False)
    with Watched() as trained:
        train_epoch(session, 1, Reporter(), warm=False)
    with Watched() as evaluated:
        evaluate(session.step.evaluated, held_out, META, "fp32", recipe.tta)
    assert (trained.faults, evaluated.faults) == (Counter(), Counter()), name
    assert trained.waits == {"_local_scalar_dense": 2}, name  # loss and hits, at the end of each window
    assert evaluated.waits.total() == 2, name  # all logits and all labels at once
    assert trained.transfers.total() + evaluated.transfers.total() <= 10, name


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize(("architecture", "norm", "recipe"), CHOSEN)
def test_a_step_waits_for_nothing_and_holds_no_array_of_the_cpu(architecture: str, norm: str, recipe: str) -> None:
    watch(f"{architecture}_{norm}", recipe)


@pytest.mark.usefixtures("fused")
def test_the_progress_of_an_epoch_is_read_ten_times_whatever_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.data.loader.AT_ONCE_ON_ACCELERATORS", 4)
    recipe = load_recipe("standard", ["precision=fp32", "batch_size=4"])
    batches = loader(recipe, 30)
    list(batches.epoch(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).to(META)
    with Watched() as seen:
        session = _Session(model, recipe, Batches(batches, None), META, compiled=False)
        seen.waits.clear()
        train_epoch(session, 1, Reporter(), warm=True)
    assert seen.waits == {"_local_scalar_dense": 10 * 2}  # loss and hits


@pytest.mark.parametrize(
    ("device", "batch", "images", "window"),
    [
        ("cpu", 512, 45_000, 8), ("meta", 512, 45_000, 16),  # a block has 16 batches, the epoch 87
        ("meta", 256, 49_000, 32), ("meta", 64, 45_000, 128), ("meta", 64, 900_000, 1408), ("meta", 512, 1_024, 16),
    ],
)  # fmt: skip
def test_every_window_of_a_speed_has_its_share_of_augmentation(
    monkeypatch: pytest.MonkeyPatch, device: str, batch: int, images: int, window: int
) -> None:
    """Else a median over windows is of those with the operations on a block, or of those without."""
    monkeypatch.setattr("zoo.data.augment.batched._room", lambda device: 0)
    recipe = load_recipe("standard", [f"batch_size={batch}"])
    assert loader(recipe, images // batch, device=device).window == window


@pytest.mark.slow
@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_pair_under_any_recipe_waits_or_holds_an_array_of_the_cpu(architecture: str) -> None:
    for norm in NORMS:
        for recipe in {*RECIPES} - ({"smoke"} if architecture == "vgg16" else set()):  # it needs more than 16x16 pixels
            watch(f"{architecture}_{norm}", recipe)


def test_what_slows_a_gpu_down_is_reported() -> None:
    ones = torch.ones(3, device=META)
    with Watched() as seen:
        ones.sum().item()
        ones.cpu()
        torch.tensor([1.0, 2.0], device=META)
        torch.ones(3).to(META, non_blocking=True)
        ones.double().sum()
        torch.index_select(ones, 0, torch.arange(2))
        ones.add_(torch.ones(()))  # a number of the host
    assert seen.waits == {"_local_scalar_dense": 1, "_to_copy": 1, "tensor": 1}
    assert seen.transfers == {"_to_copy": 1}
    assert set(seen.faults) == {
        "_to_copy: 64 bits", "sum: 64 bits", "index_select: an array of the CPU",
    }  # fmt: skip


def test_all_of_them_are_among_the_chosen() -> None:
    for number, names in enumerate((ARCHITECTURES, NORMS, RECIPES)):
        assert {chosen[number] for chosen in CHOSEN} == set(names)
