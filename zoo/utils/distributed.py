"""The processes that train one model together, as torchrun starts them; one process alone is a group of one."""

from __future__ import annotations

import atexit
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from zoo.errors import MachineError

T = TypeVar("T")
# The first process evaluates, measures and writes while the others wait for it.
PATIENCE = datetime.timedelta(hours=6)


@dataclass(frozen=True)
class Distributed:
    """This process' number and how many there are. With one process every method is a plain no-op."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that evaluates, writes and reports."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """This process' part of a batch of `count` images: contiguous, sizes differing by one at most."""
        return slice(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def loss_weight(self, mine: int, count: int) -> float:
        """By what to multiply the mean loss over `mine` of a batch's `count` images, so that the mean of the gradients
        over processes is that of the whole batch; 1 where all shares are equal.
        """
        return mine * self.world_size / count

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes, the same in each; `tensor` stays as it is."""
        if self.world_size == 1:
            return tensor
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def broadcast(self, value: T) -> T:
        """The first process' `value` in each: numbers, text, None and tuples of them. All processes have to call it."""
        if self.world_size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def main_first(self, work: Callable[[], T]) -> T:
        """What `work` gives, done by the first process before the others do it, so that they find its cache."""
        if self.world_size == 1:
            return work()
        mine = work() if self.is_main else None
        dist.barrier()
        return mine if self.is_main else work()

    def check_single(self, what: str) -> None:
        """Raise :class:`MachineError` where there are several processes, since `what` works in one."""
        if self.world_size > 1:
            raise MachineError(f"{what} works in one process; start it without torchrun")

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """`model` with gradients that are averaged over all processes (torch's DistributedDataParallel)."""
        if self.world_size == 1:
            return model
        return nn.parallel.DistributedDataParallel(model, [device] if device.type == "cuda" else None)


SINGLE_PROCESS = Distributed()


def join_process_group(device: torch.device) -> tuple[Distributed, torch.device]:
    """The process group of torchrun's environment, and this process' own device in it: gloo on CPUs, NCCL on GPUs.

    Outside torchrun :data:`SINGLE_PROCESS` and `device`. Raises :class:`MachineError` where a machine has fewer GPUs
    than processes, and where the processes do not find each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return SINGLE_PROCESS, device
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise MachineError(
                f"torchrun started {os.environ['LOCAL_WORLD_SIZE']} processes here, but there are "
                f"{torch.cuda.device_count()} GPUs; give --nproc-per-node {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as problem:
        line = " ".join(str(problem).split())
        raise MachineError(f"the {size} processes of torchrun do not find each other: {line}") from problem
    atexit.register(dist.destroy_process_group)
    return Distributed(dist.get_rank(), dist.get_world_size()), device


def unsynchronised(module: nn.Module) -> nn.Module:
    """`module` itself, its SyncBatchNorm as BatchNorm: to try a copy in one process, or on a CPU, while others wait."""
    for part in module.modules():
        if isinstance(part, nn.SyncBatchNorm):
            part.__class__ = nn.BatchNorm2d
    return module
