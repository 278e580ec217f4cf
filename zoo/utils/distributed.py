"""The processes that train one model together, started by torchrun. A single process is a group of one."""

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

from zoo.errors import MachineError, Option, ZooError
from zoo.utils.device import is_accelerator

T = TypeVar("T")
# The main process evaluates, measures and writes while the others wait for it.
TIMEOUT = datetime.timedelta(hours=6)


@dataclass(frozen=True)
class Distributed:
    """The rank of this process and the number of processes. With one process every method is a no-op."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process evaluates, writes and reports: the one of rank 0."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """The positions of this process in a batch of `count` images. Shards are contiguous, their sizes within one."""
        return slice(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def loss_weight(self, mine: int, count: int) -> float:
        """The factor for the mean loss over `mine` of the `count` images of a batch.

        With it, the gradients averaged over processes are those of the whole batch. It is 1 where all shards are equal.
        """
        return mine * self.world_size / count

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes, the same in each. `tensor` is not changed."""
        if self.world_size == 1:
            return tensor
        summed = tensor.clone()
        dist.all_reduce(summed)
        return summed

    def broadcast(self, value: T) -> T:
        """The main process's `value`, in every process: numbers, text, None and tuples of them. All must call it."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def main_first(self, work: Callable[[], T]) -> T:
        """The result of `work`, which the main process runs before the others, so that they find its cache."""
        if self.world_size == 1:
            return work()
        if not self.is_main:
            dist.barrier()
            return work()
        result = work()
        dist.barrier()
        return result

    def agree(self, work: Callable[[], T]) -> T:
        """The result of `work`, where it succeeds in every process; all must call it.

        Where it raises a :class:`ZooError`, the main process raises that of the first one and the others exit, so that
        no process waits for another and one line is printed.
        """
        if self.world_size == 1:
            return work()
        results: list[T] = []
        problem: ZooError | None = None
        try:
            results.append(work())
        except ZooError as caught:
            problem = caught
        problems: list[ZooError | None] = [None] * self.world_size
        dist.all_gather_object(problems, problem)
        if first := next((other for other in problems if other), None):
            if self.is_main:
                raise first
            raise SystemExit(first.exit_code)
        return results[0]

    def check_single(self, what: str) -> None:
        """Raise :class:`MachineError` where there are several processes, since `what` works in one only."""
        if self.world_size > 1:
            raise MachineError(f"{what} works in one process; start it without torchrun")

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """`model` with its gradients averaged over all processes (torch's DistributedDataParallel)."""
        if self.world_size == 1:
            return model
        return nn.parallel.DistributedDataParallel(model, [device] if is_accelerator(device) else None)


SINGLE_PROCESS = Distributed()


def join_process_group(device: torch.device) -> tuple[Distributed, torch.device]:
    """Join the process group of torchrun's environment and choose this process's device.

    Its backend is torch's for the device: gloo on CPUs, NCCL on GPUs of CUDA.

    Outside torchrun it returns :data:`SINGLE_PROCESS` and `device`. Raises :class:`MachineError` where a machine has
    fewer GPUs than processes, or where the processes do not find each other.
    """
    size, rank, local = (_number(name, least) for name, least in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))
    if size == 1:
        return SINGLE_PROCESS, device
    if rank >= size:
        raise MachineError(f"RANK={rank} is not below WORLD_SIZE={size}; start zoo with torchrun, or unset both")
    if lacking := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name, "").strip()]:
        advice = "start zoo with torchrun, or unset WORLD_SIZE"
        raise MachineError(f"WORLD_SIZE={size} is set, but not {', '.join(lacking)}; {advice}")
    if is_accelerator(device):
        if local >= torch.accelerator.device_count():
            raise MachineError(
                f"torchrun started {os.environ.get('LOCAL_WORLD_SIZE', size)} processes here, but there are "
                f"{torch.accelerator.device_count()} GPUs; give ",
                Option("nproc_per_node", str(torch.accelerator.device_count())),
            )  # fmt: skip
        device = torch.device(device.type, local)
        torch.accelerator.set_device_index(local)
    try:
        dist.init_process_group(dist.get_default_backend_for_device(device), timeout=TIMEOUT)
    except (RuntimeError, ValueError) as problem:
        line = " ".join(str(problem).split())
        raise MachineError(f"the {size} processes of torchrun do not find each other: {line}") from problem
    atexit.register(dist.destroy_process_group)
    return Distributed(dist.get_rank(), dist.get_world_size()), device


def _number(name: str, least: int) -> int:
    """What torchrun sets; `least` where it is not set, or to nothing. Raises :class:`MachineError`."""
    text = os.environ.get(name, "").strip()
    if text and not (text.isascii() and text.isdecimal() and least <= int(text[:9]) and len(text) < 9):
        raise MachineError(f"{name}={text!r} is no number that torchrun sets; unset it, or start zoo with torchrun")
    return int(text) if text else least


def unsynchronised(module: nn.Module) -> nn.Module:
    """`module` itself with each SyncBatchNorm as BatchNorm2d, so that it runs in one process, or on a CPU."""
    layers: list[nn.Module] = [layer for layer in module.modules() if isinstance(layer, nn.SyncBatchNorm)]
    for layer in layers:
        layer.__class__ = nn.BatchNorm2d
    return module
