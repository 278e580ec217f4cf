"""How a run is computed: what is recorded beside the recipe because it changes no more than last bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch

from zoo.data.workers import killed_worker
from zoo.engine.guard import guarded
from zoo.errors import MachineError, Option
from zoo.registry.entries import Layout
from zoo.utils.distributed import SINGLE_PROCESS, Distributed


@dataclass(frozen=True)
class Settings:
    """What cannot change accuracy: where and how a run is computed. ``auto`` is resolved per machine and recorded.

    `layout`: the memory layout of every model; None gives each the one that the registry asks for.
    `deterministic`: only algorithms that give the same bits each time. `allow_batch_dependent`: whether a model may be
    run whose answer to an image depends on the images beside it; its results are marked. `auto_threads`: whether what
    was free on the machine chose the number of torch's threads. `at_a_time`: how many runs share the machine.
    `command`: the words that resume the runs, which each keeps until it is finished.
    """

    device: torch.device
    layout: Layout | None
    executor: Literal["auto", "batched", "albumentations"]
    workers: int
    compiled: bool
    deterministic: bool
    distributed: Distributed = SINGLE_PROCESS
    allow_batch_dependent: bool = False
    auto_threads: bool = False
    at_a_time: int = 1
    command: tuple[str, ...] = field(default=(), repr=False, compare=False)


@contextlib.contextmanager
def machine_faults(what: str, settings: Settings, then: str, doing: str) -> Iterator[None]:
    """What the machine or the model's code does to `what`, a run or a model, while the block is `doing` something.

    Raises, in one line, :class:`~zoo.errors.MachineError` for a loader's process that was killed (`then`: what to do
    once its cause is mended) and, under ``--deterministic``, for an operation that has no such form;
    :class:`~zoo.errors.RegistryError` for all else, as :func:`zoo.engine.guard.guarded` does.
    """
    with guarded(what, doing):
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as problem:
            if killed := killed_worker(problem):
                raise MachineError(f"{what}: ", *killed.parts, f": {then}") from problem
            if settings.deterministic and "deterministic" in str(problem):
                line = str(problem).split(",")[0].split(". ")[0]
                raise MachineError(Option("deterministic"), f": {what}: {line}; leave the option out") from problem
            raise
