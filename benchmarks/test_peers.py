"""An epoch of resnet18_bn beside what people use today: same model, images and batch, in turn.

Peers tuned by hand share zoo's process, and with it zoo's memory; as documented they have processes of their own.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from peers import BATCH, BATCHES, MEAN, PEERS, STD, Epoch, work
from processes import Asked
from torch import nn

from zoo.data.loader import Batching, TrainLoader
from zoo.engine.checkpoint import Identity
from zoo.engine.convolution import use_side_by_side
from zoo.engine.machine import native_bf16
from zoo.engine.reporter import Reporter
from zoo.engine.train import Batches, train
from zoo.recipes.load import load_recipe
from zoo.results.folder import RunFolder
from zoo.results.history import EpochRow
from zoo.results.schema import SettingsPart
from zoo.utils.distributed import SINGLE_PROCESS

CPU = torch.device("cpu")
TURNS = 5
CONSTANT = "schedule={name: constant, warmup_epochs: 0}"
TRANSFORMS = [
    {"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": "constant"}},
    {"RandomCrop": {"height": 32, "width": 32}},
    {"HorizontalFlip": {"p": 0.5}},
    {"Normalize": {"mean": list(MEAN), "std": list(STD)}},
]


class Turns(Reporter):
    """A reporter of zoo's training that lets every peer train an epoch after each of zoo's, so that a slow moment meets
    all. A peer's time is not zoo's: train() counts its own epoch alone. The first epoch of each warms up and does not
    count; the slow ones, as documented, sit out every other turn.

    `zoo`: its seconds, turn by turn; `pairs`: zoo's and a peer's of each turn that it took part in, by name.
    """

    def __init__(self, peers: dict[str, Epoch]) -> None:
        self.peers, self.turn = peers, 0
        self.zoo: list[float] = []
        self.pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}

    def epoch(self, row: EpochRow, *_: object) -> None:
        """Zoo's epoch is `row`; the peers' follow."""
        self.turn += 1
        for name, train_one in self.peers.items():
            if "tuned" in name or self.turn == 1 or self.turn % 2 == 0:
                seconds = train_one()
                if self.turn > 1:
                    self.pairs[name].append((row.train_seconds, seconds))
        if self.turn > 1:
            self.zoo.append(row.train_seconds)


def ours(model: nn.Module, images: np.ndarray, labels: np.ndarray, folder: Path, turns: Turns) -> None:
    """The real loop, :func:`zoo.engine.train.train`; the time is its own, without evaluation and the saved state."""
    recipe = load_recipe("smoke", [f"batch_size={BATCH}", "precision=bf16", f"epochs={TURNS + 1}", CONSTANT])
    loader = TrainLoader(images, labels, TRANSFORMS, Batching(BATCH, 0, SINGLE_PROCESS), channels_last=True)
    settings = SettingsPart(
        device="cpu", layout="channels_last", compiled=False, executor="batched", workers=0, deterministic=False
    )
    use_side_by_side(model, CPU, recipe.precision, compiled=False)  # as a run does
    train(
        model.to(memory_format=torch.channels_last), recipe, Batches(loader, None), device=CPU, compiled=False,
        state=None, folder=RunFolder(folder), identity=Identity({}, settings), reporter=turns,
    )  # fmt: skip


@pytest.mark.skipif(not native_bf16(CPU), reason="peers are tuned to bf16, which this processor lacks")
def test_peers(benchmark, figure, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs pip install -e '.[bench]'")
    model, images, labels = work()
    with contextlib.ExitStack() as processes:
        peers: dict[str, Epoch] = {}
        for name, make in PEERS.items():
            peers[f"{name}, as documented"] = processes.enter_context(contextlib.closing(Asked("peers.py", name)))
            peers[f"{name}, tuned by hand"] = make(copy.deepcopy(model), images, labels, BATCH, True)
        turns = Turns(peers)
        benchmark.pedantic(ours, (model, images, labels, tmp_path, turns), rounds=1)
    mine = [BATCH * BATCHES / seconds for seconds in turns.zoo]
    assert len(mine) == TURNS
    benchmark.extra_info["zoo"] = mine
    figure("zoo, resnet18_bn, median of 5 epochs", statistics.median(mine), unit="img/s")
    missed = []
    for name, pairs in turns.pairs.items():
        found = benchmark.extra_info[name] = [BATCH * BATCHES / theirs for _, theirs in pairs]
        ratio = statistics.median(theirs / ours for ours, theirs in pairs)
        try:
            figure(
                f"  times {name} ({statistics.median(found):.1f} img/s)", ratio, least=1.0 if "tuned" in name else 2.5
            )
        except AssertionError as problem:  # show all before failing
            missed.append(str(problem))
    assert not missed
