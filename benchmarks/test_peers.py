"""An epoch of resnet18_bn beside what people use today: same model, images and batch, in turn, in one process."""

from __future__ import annotations

import copy
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from peers import MEAN, PEERS, STD, Epoch
from torch import nn

from zoo.build import build
from zoo.data.loader import TrainLoader
from zoo.engine.machine import native_bf16
from zoo.engine.train import Batches, train
from zoo.recipe import load_recipe
from zoo.registry import load_registry
from zoo.results import RunFolder

CPU = torch.device("cpu")
BATCH, BATCHES, TURNS = 128, 3, 5
CONSTANT = "schedule={name: constant, warmup_epochs: 0}"
TRANSFORMS = [
    {"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": "constant"}},
    {"RandomCrop": {"height": 32, "width": 32}},
    {"HorizontalFlip": {"p": 0.5}},
    {"Normalize": {"mean": list(MEAN), "std": list(STD)}},
]


def ours(model: nn.Module, images: np.ndarray, labels: np.ndarray, folder: Path) -> Epoch:
    """The real loop, :func:`zoo.engine.train.train`; the time is its own, without evaluation and the saved state."""
    recipe = load_recipe("smoke", [f"batch_size={BATCH}", "precision=bf16", "epochs=1", CONSTANT])
    loader = TrainLoader(images, labels, TRANSFORMS, batch_size=BATCH, seed=0, channels_last=True)
    model = model.to(memory_format=torch.channels_last)

    def epoch() -> float:
        outcome = train(
            model, recipe, Batches(loader, None), seed=0, device=CPU, compiled=False, state=None,
            folder=RunFolder(folder), identity={}, reporter=Quiet(),
        )  # fmt: skip
        return outcome.history[0].train_seconds

    return epoch


class Quiet:
    """A reporter that says nothing."""

    def resumed(self, *told: object) -> None:
        """Nothing."""

    window = epoch = resumed


@pytest.mark.skipif(not native_bf16(CPU), reason="peers are tuned to bf16, which this processor lacks")
def test_peers(benchmark, figure, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs pip install -e '.[bench]'")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH * BATCHES, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, BATCH * BATCHES)
    torch.manual_seed(0)
    model = build(load_registry().resolve("resnet18_bn"))
    contestants: dict[str, Epoch] = {"zoo": ours(copy.deepcopy(model), images, labels, tmp_path)}
    for name, make in PEERS.items():
        for tuned in (False, True):
            words = f"{name}, {'tuned by hand' if tuned else 'as documented'}"
            contestants[words] = make(copy.deepcopy(model), images, labels, BATCH, tuned)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(TURNS + 1):
        for name, epoch in contestants.items():
            seconds = epoch()
            if turn:  # the first epoch of each warms up
                rates[name].append(BATCH * BATCHES / seconds)
    benchmark.pedantic(contestants["zoo"], rounds=1)
    mine = rates.pop("zoo")
    benchmark.extra_info.update(zoo=mine, **rates)
    figure("zoo, resnet18_bn, median of 5 epochs", statistics.median(mine), unit="img/s")
    missed = []
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(mine, found, strict=True))
        try:
            figure(
                f"  times {name} ({statistics.median(found):.1f} img/s)", ratio, least=1.0 if "tuned" in name else 2.5
            )
        except AssertionError as problem:  # show all before failing
            missed.append(str(problem))
    assert not missed
