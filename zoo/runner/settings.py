"""How a run is computed: what is recorded beside the recipe because it changes no more than last bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from zoo.data.loader import killed_worker
from zoo.errors import MachineError, Option
from zoo.registry.entries import Layout
from zoo.utils.distributed import SINGLE_PROCESS, Distributed


@dataclass(frozen=True)
class Settings:
    """What cannot change accuracy: where and how a run is computed. ``auto`` is resolved per machine and recorded.

    `layout`: the memory layout of every model; None gives each the one that the registry asks for.
    `deterministic`: only algorithms that give the same bits each time.
    """

    device: torch.device
    layout: Layout | None
    executor: Literal["auto", "batched", "albumentations"]
    workers: int
    compiled: bool
    deterministic: bool
    distributed: Distributed = SINGLE_PROCESS


@contextlib.contextmanager
def machine_faults(training: str, settings: Settings, then: str) -> Iterator[None]:
    """What the machine does to the `training` in the block, in one line: :class:`~zoo.errors.MachineError`.

    A loader's process that was killed (`then`: what to do once its cause is mended), and under ``--deterministic`` an
    operation that has no such form. Every other error passes.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as problem:
        if killed := killed_worker(problem):
            raise MachineError(f"{training}: ", *killed.parts, f": {then}") from problem
        if settings.deterministic and "deterministic" in str(problem):
            line = str(problem).split(",")[0].split(". ")[0]
            raise MachineError(Option("deterministic"), f": {training}: {line}; leave the option out") from problem
        raise
