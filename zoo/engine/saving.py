"""When the state of a training is written: on a CPU after every epoch, else as often as it takes little of the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from zoo.engine.checkpoint import SavedState, copied, save_state

SHARE, LATEST = 0.02, 30.0  # of the time since the last write that a write may take, and seconds until the next at most
_savers: list[Saver] = []  # of the trainings that this process is in


class Saver:
    """Writes a training's state to `path`, and then calls `written` with its epoch. Used as a context manager.

    An accelerator trains on while it is not time for a write: the last finished epoch then stays as a copy in memory,
    which is written where the block ends, whatever ends it. A CPU takes longer for an epoch than for a write.
    """

    def __init__(self, path: Path, device: torch.device, written: Callable[[int], None]) -> None:
        self._path, self._written, self._each = path, written, every_epoch(device)
        self._unwritten: SavedState | None = None
        self._cost: float | None = None  # seconds of the last write
        self._last = time.monotonic()

    def __enter__(self) -> Saver:
        _savers.append(self)
        return self

    def __exit__(self, *problem: object) -> None:
        try:
            self.write()
        finally:
            _savers.remove(self)

    def finished(self, state: SavedState, *, last: bool) -> None:
        """An epoch is finished, the `last` one or not; `state` has the tensors in use.

        Raises as :func:`zoo.engine.checkpoint.save_state` does.
        """
        now = self._each or last or self._is_due()
        self._unwritten = state if now else copied(state)
        if now:
            self.write()

    def write(self) -> None:
        """Write the last finished epoch unless that is done; also from a signal handler, in the middle of a write."""
        if (state := self._unwritten) is None:
            return
        start = time.monotonic()
        try:
            save_state(self._path, state)
        except Exception:
            self._unwritten = None  # a second try would fail as well
            raise
        self._unwritten, self._last = None, time.monotonic()
        self._cost = self._last - start
        self._written(state.progress.epoch)

    def _is_due(self) -> bool:
        since = time.monotonic() - self._last
        return self._cost is None or self._cost <= SHARE * since or since >= LATEST


def every_epoch(device: torch.device) -> bool:
    """Whether the state of a training on `device` is written after every epoch."""
    return device.type == "cpu"


def write_unwritten() -> None:
    """Write the last finished epoch of each training in this process, as a signal announces its end."""
    for saver in _savers:
        saver.write()
