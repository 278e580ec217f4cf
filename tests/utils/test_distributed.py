"""Several processes under torchrun train the model that one process trains: same batches, same order, one result."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from strangers import try_on
from torch import nn

from zoo.builder.construct import build
from zoo.data.loader import Batching, TrainLoader
from zoo.engine.memory_format import LAYOUTS, faster_layout
from zoo.errors import MachineError, RecipeError, RegistryError
from zoo.recipes.load import load_recipe
from zoo.registry.merge import load_registry
from zoo.results.folder import RunFolder, find_results, load_result
from zoo.results.history import EpochRow, load_history
from zoo.runner.checks import check_batches, check_model
from zoo.utils.distributed import SINGLE_PROCESS, Distributed, join_process_group

CPU = torch.device("cpu")
TWO = (Distributed(0, 2), Distributed(1, 2))
# The mean over processes of the mean over each one's images is taken in another order than the mean over all: last
# bits of the gradients differ, and training makes them grow.
TOLERANCE = 1e-4

# Parts of a batch


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 6, 7, 64])
def test_shares_are_a_partition(size: int, count: int) -> None:
    shares = [Distributed(rank, size).shard(count) for rank in range(size)]
    assert [row for share in shares for row in range(share.start, share.stop)] == list(range(count))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_weights_make_the_mean_of_the_shares_that_of_the_batch() -> None:
    losses = torch.rand(7, dtype=torch.float64)
    parts = [losses[distributed.shard(7)] for distributed in TWO]
    mean = (
        sum(distributed.loss_weight(len(part), 7) * part.mean() for distributed, part in zip(TWO, parts, strict=True))
        / 2
    )
    assert torch.isclose(mean, losses.mean())
    assert TWO[0].loss_weight(3, 6) == SINGLE_PROCESS.loss_weight(6, 6) == 1


@pytest.mark.parametrize("executor", ["batched", "albumentations"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_two_loaders_give_what_one_gives(executor: str, drop_last: bool) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8), np.arange(23) % 4
    transforms = [{"PadIfNeeded": {"min_height": 12, "min_width": 12, "border_mode": "reflect_101"}},
                  {"RandomCrop": {"height": 8, "width": 8}}, {"HorizontalFlip": {"p": 0.5}}]  # fmt: skip

    def batches(distributed: Distributed) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return TrainLoader(
            images,
            labels,
            transforms,
            Batching(6, 1, distributed, drop_last),
            executor=executor,
        ).epoch(3)

    steps = 0
    for whole, first, second in zip(batches(SINGLE_PROCESS), *map(batches, TWO), strict=True):
        for all_of_it, *parts in zip(whole, first, second, strict=True):
            assert torch.equal(all_of_it, torch.cat(parts))
        steps += 1
    assert steps == (3 if drop_last else 4)


# What is refused


@pytest.mark.parametrize("norm", ["bn", "bn_ghost", "brn", "evob0"])
def test_statistics_of_a_part_of_the_batch_are_refused(norm: str) -> None:
    module = nn.Sequential(nn.BatchNorm2d(4)) if norm != "evob0" else nn.Sequential(nn.Conv2d(3, 4, 1))
    entry = load_registry(folder=Path("/")).resolve(f"resnet20_{norm}")
    check_model(entry, module, CPU, SINGLE_PROCESS)
    with pytest.raises(RegistryError, match=rf"^resnet20_{norm}: its norm takes statistics of the batch, .*syncbn"):
        check_model(entry, module, CPU, TWO[0])


def test_batch_norm_inside_a_model_that_names_no_norm_is_refused() -> None:
    entry = dataclasses.replace(load_registry(folder=Path("/")).resolve("resnet20_ln"), norm=None)
    check_model(entry, nn.GroupNorm(1, 4), CPU, TWO[0])
    with pytest.raises(RegistryError, match="statistics of the batch"):
        check_model(entry, nn.BatchNorm2d(4), CPU, TWO[0])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("more", [{}, {"RANK": "1"}, {"RANK": "0", "MASTER_ADDR": "localhost"}])
def test_world_size_without_torchrun_is_one_line(
    monkeypatch: pytest.MonkeyPatch, device: str, more: dict[str, str]
) -> None:
    """Some images and schedulers set it for everything that they start. On a GPU it was a KeyError."""
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, text in {"WORLD_SIZE": "2", **more}.items():
        monkeypatch.setenv(name, text)
    lacking = ", ".join(name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in more)
    with pytest.raises(MachineError) as caught:
        join_process_group(torch.device(device))
    assert str(caught.value) == (
        f"WORLD_SIZE=2 is set, but not {lacking}; start zoo with torchrun, or unset WORLD_SIZE"
    )


def test_synchronised_batch_norm_needs_gpus_where_there_are_several_processes() -> None:
    entry = load_registry(folder=Path("/")).resolve("resnet20_syncbn")
    check_model(entry, nn.SyncBatchNorm(4), CPU, SINGLE_PROCESS)
    check_model(entry, nn.SyncBatchNorm(4), torch.device("cuda", 0), TWO[0])
    with pytest.raises(MachineError, match=r"^resnet20_syncbn: torch synchronises .* between GPUs only, .*cpu"):
        check_model(entry, nn.SyncBatchNorm(4), CPU, TWO[0])


def test_the_checks_of_synchronised_batch_norm_are_of_one_process(tmp_path: Path) -> None:
    """They train a copy on the CPU, where torch synchronises nothing; so does the trial of the layouts."""
    entry, device = load_registry(folder=Path("/")).resolve("resnet20_syncbn"), torch.device("cpu")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'met'}", rank=0, world_size=1)
    try:
        module = build(entry, 10)
        with pytest.raises(ValueError, match="GPU"):
            module.train()(torch.rand(2, 3, 16, 16))
        try_on(entry, module, (3, 16, 16), 10)
        faster = faster_layout(module, load_recipe("smoke", ["precision=fp32"]), device, (3, 16, 16))
        assert faster is None or faster[0] in LAYOUTS  # beside other tests the clock may say nothing
        assert sum(isinstance(part, nn.SyncBatchNorm) for part in module.modules()) == 19  # still what it is
    finally:
        torch.distributed.destroy_process_group()


def test_a_process_without_an_image_is_refused() -> None:
    check_batches(64, 32, False, Distributed(0, 4))
    check_batches(65, 32, True, Distributed(0, 4))
    check_batches(65, 1, False, SINGLE_PROCESS)
    with pytest.raises(
        RecipeError, match=r"^the last batch has 1 images, fewer than the 4 processes; .*drop_last=true"
    ):
        check_batches(65, 32, False, Distributed(0, 4))
    with pytest.raises(RecipeError, match=r"^a batch has 2 images, fewer than the 4 processes; give fewer"):
        check_batches(64, 2, True, Distributed(0, 4))


# Real processes


def torchrun(cli, processes: int):
    """The command line of `processes` processes that train together."""
    start = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes))
    start += ("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1")
    environment = cli.environment | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return dataclasses.replace(cli, command=(*start, "-m", "zoo"), environment=environment)


def history(runs: Path) -> list[EpochRow]:
    """Of the only run in `runs`, which has to be whole."""
    (path,) = find_results([runs])
    result = load_result(path)
    assert result.status == "finished"
    assert result.epochs_trained == len(load_history(path.with_name("history.csv")))
    return load_history(path.with_name("history.csv"))


def close(one: list[EpochRow], other: list[EpochRow]) -> float:
    """The largest difference of the two loss curves, as a share of the loss."""
    assert len(one) == len(other) > 0
    pairs = [(a.running_train_loss, b.running_train_loss) for a, b in zip(one, other, strict=True)]
    pairs += [(a.eval_loss, b.eval_loss) for a, b in zip(one, other, strict=True)]
    return max(abs(a - b) / a for a, b in pairs)


def test_two_processes_train_what_one_trains(zoo_cli, tiny, figure) -> None:
    # 70 images in batches of 16: the last batch has 6, of which each process takes 3.
    what = ("bench", "resnet20_ln", *tiny, "--set", "split.train=70", "--set", "batch_size=16")
    # In bf16, which a processor may have, a share of a batch rounds otherwise than the whole; so do the two layouts,
    # of which one thread may find the other faster than two do.
    what += ("--set", "drop_last=false", "--set", "precision=fp32", "--layout", "nchw")
    what += ("--set", "optimizer.lr=0.01")  # at 0.1 ten steps make the last bits grow to 5e-4 on a processor with AMX
    zoo_cli.ok(*what, "--runs", "one", OMP_NUM_THREADS="1")
    told = torchrun(zoo_cli, 2).ok(*what, "--runs", "two")
    assert told.stdout.count("resnet20_ln") == 1  # one table, by the first process
    assert told.stderr.count(" 2/2 ") == 1
    one, two = history(zoo_cli.folder / "one"), history(zoo_cli.folder / "two")
    difference = close(one, two)
    figure("torchrun, 2 processes: largest relative difference of the losses from 1 process", f"{difference:.1e}")
    assert difference < TOLERANCE
    assert [row.lr for row in one] == [row.lr for row in two]
    (path,) = find_results([zoo_cli.folder / "two"])
    assert load_result(path).environment["processes"] == 2
    assert not list(path.parent.glob("state.pt"))


@pytest.mark.slow
def test_batch_norm_under_torchrun_is_one_line(zoo_cli, tiny) -> None:
    told = torchrun(zoo_cli, 2)("bench", "resnet20_bn", *tiny)
    assert told.returncode != 0
    assert told.stderr.count("zoo: resnet20_bn: its norm takes statistics of the batch") == 1
    assert not (zoo_cli.folder / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("used", ["never", "in the second step", "in one process"])
def test_a_parameter_without_gradient_under_torchrun_is_one_line(zoo_cli, tiny, used: str) -> None:
    """No hang and no traceback: DistributedDataParallel waits for the gradient of each parameter."""
    when = {"never": "False", "in the second step": "self.steps > 1", "in one process": "self.rank"}[used]
    (zoo_cli.folder / "registry.yaml").write_text('norms: {mine: {builder: "my_norm:mine", batch_independent: true}}\n')
    (zoo_cli.folder / "my_norm.py").write_text(
        "import os, torch\n"
        "class mine(torch.nn.GroupNorm):\n"
        "    def __init__(self, num_channels):\n"
        "        super().__init__(1, num_channels)\n"
        "        self.scale = torch.nn.Parameter(torch.ones(()))\n"
        "        self.register_buffer('steps', torch.zeros(()))\n"
        "        self.rank = int(os.environ.get('RANK', 0))\n"
        "    def forward(self, x):\n"
        "        self.steps += self.training\n"
        f"        return super().forward(x) * (self.scale if {when} else 1)\n"
    )
    output = torchrun(zoo_cli, 2)("bench", "resnet20_mine", "resnet20_ln", *tiny, timeout=120)
    assert output.returncode != 0
    assert output.stdout == ""
    (line,) = [line for line in output.stderr.splitlines() if line.startswith("zoo: ")]
    assert line.startswith("zoo: model 'resnet20_mine' ")
    assert "no gradient reaches" in line
    assert output.stderr.count("Traceback") <= 1, "torchrun's own"
    assert "[rank" not in output.stderr
    assert not list(zoo_cli.folder.glob("runs/**/result.json"))


@pytest.mark.slow
def test_a_study_of_several_parts_is_one_table(zoo_cli, tiny) -> None:
    told = torchrun(zoo_cli, 2).ok(
        "study", "eva6s8", "--architecture", "resnet20", "--epochs", "2", "--dataset", "shapes10", "--layout", "nchw",
        "--set", "split.train=64", "--set", "split.holdout=32", "--set", "batch_size=32", "--set", "precision=fp32",
    )  # fmt: skip
    assert told.stdout.count("eva6s8 to standard: ") == 1
    assert len(find_results([zoo_cli.folder / "runs"])) == told.stderr.count(" 2/2 ") == 10


@pytest.mark.slow
def test_killed_processes_go_on_together(zoo_cli, tiny) -> None:
    """A SIGKILL of one ends all; the same command goes on from the last epoch, to the same bits."""
    what = ("bench", "resnet20_ln", *tiny, "--set", "epochs=20")
    together = torchrun(zoo_cli, 2)
    together.ok(*what, "--runs", "whole")
    started = together.start(*what, "--runs", "killed")
    (folder,) = [RunFolder(path.parent) for path in find_results([zoo_cli.folder / "whole"])]
    state = zoo_cli.folder / "killed" / folder.path.relative_to(zoo_cli.folder / "whole") / "state.pt"
    until = time.monotonic() + 120
    while not state.is_file():
        assert time.monotonic() < until
        assert started.poll() is None
        time.sleep(0.01)
    workers = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)
    started.communicate(timeout=120)
    assert started.returncode != 0
    assert not list(zoo_cli.folder.glob("killed/**/result.json"))
    alone = zoo_cli(*what, "--runs", "killed")
    assert alone.returncode == 2
    assert "was started with processes 2" in alone.stderr
    together.ok(*what, "--runs", "killed")
    (path,) = find_results([zoo_cli.folder / "killed"])
    assert load_result(path).resumes == 1
    assert path.with_name("model.safetensors").read_bytes() == folder.weights.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["ln", "gn", "in", "ws_gn"])
def test_real_images_in_two_processes(zoo_cli, norm: str, figure) -> None:
    data = os.environ.get("ZOO_DATA")
    if not data:
        pytest.skip("needs ZOO_DATA with cifar10-jpeg")
    what = ("bench", f"resnet20_{norm}", "--recipe", "laptop", "--dataset", "cifar10-jpeg", "--data-dir", data)
    what += ("--set", "precision=fp32", "--set", "epochs=2", "--set", "schedule.peak_epoch=1", "--layout", "nchw")
    what += ("--set", "split.train=1000", "--set", "split.holdout=200")
    zoo_cli.ok(*what, "--runs", "one")
    torchrun(zoo_cli, 2).ok(*what, "--runs", "two")
    difference = close(history(zoo_cli.folder / "one"), history(zoo_cli.folder / "two"))
    figure(f"torchrun, 2 processes, resnet20_{norm} on real images: difference of the losses", f"{difference:.1e}")
    assert difference < 0.05
