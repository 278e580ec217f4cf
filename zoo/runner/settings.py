"""How a run is computed: what is recorded beside the recipe because it changes no more than last bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zoo.data.loader import killed_worker
from zoo.engine import memory_format
from zoo.engine.environment import describe
from zoo.errors import MachineError
from zoo.recipes.recipe import Recipe
from zoo.utils.distributed import SINGLE_PROCESS, Distributed


@dataclass(frozen=True)
class Settings:
    """What cannot change accuracy: where and how a run is computed. ``auto`` is resolved per machine and recorded.

    `deterministic`: only algorithms that give the same bits each time, and a memory layout that no clock chooses.
    """

    device: torch.device
    layout: str  # auto, nchw or channels_last
    executor: str  # auto, batched or albumentations
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
            raise MachineError(f"--deterministic: {training}: {line}; leave the option out") from problem
        raise


def resolve_layout(
    settings: Settings, model: nn.Module, told: dict[str, Any], recipe: Recipe, image_shape: tuple[int, int, int]
) -> str:
    """The memory layout for `model`, whose definition is `told`: as asked for, or the faster one here, remembered.

    Raises :class:`zoo.errors.MachineError` when the user cache cannot be written.
    """
    if settings.layout != "auto":
        return settings.layout
    if settings.deterministic:
        return "channels_last"  # the clock decides nothing
    return settings.distributed.broadcast(
        _timed_layout(settings, model, told, recipe, image_shape) if settings.distributed.is_main else None
    )


def _timed_layout(
    settings: Settings, model: nn.Module, told: dict[str, Any], recipe: Recipe, image_shape: tuple[int, int, int]
) -> str:
    key = {
        "definition": told,
        "precision": recipe.precision,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer.name,
        "image_shape": image_shape,
        "environment": describe(settings.device),
    }
    return memory_format.remembered_layout(
        key, lambda: memory_format.choose_layout(model, recipe, settings.device, image_shape)
    )
