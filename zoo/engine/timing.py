"""Wall time of work on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from zoo.engine.machine import synchronize


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work` with nothing queued on `device` before or after it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start
