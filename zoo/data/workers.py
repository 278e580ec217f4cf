"""The processes that make batches for the albumentations executor: what they need, and what can happen to them."""

from __future__ import annotations

import contextlib
import mmap
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.augment.reference import ReferenceAugment
from zoo.errors import MachineError, Option
from zoo.utils.device import accelerator

AHEAD = 2  # batches that each process prepares
WAIT = 60  # seconds for a batch, twice
SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps what processes hand to each other
_TIMED_OUT = re.compile(r"DataLoader timed out after \d+ seconds")


class Batches(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Whole augmented batches by (epoch, first position, rows)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, augment: ReferenceAugment, seed: int):
        self.images, self.labels, self.rows, self.augment, self.seed = images, labels, rows, augment, seed

    def __getstate__(self) -> dict[str, Any]:
        """For a process that is not forked: a mapped file by its name, which the process maps itself."""
        state = dict(vars(self))
        if isinstance(self.images, np.memmap) and isinstance(self.images.base, mmap.mmap):
            state["images"] = self.images.filename
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not isinstance(self.images, np.ndarray):
            self.images = np.load(self.images, mmap_mode="r", allow_pickle=False)

    def __getitem__(self, key: tuple[int, int, np.ndarray]) -> tuple[Tensor, Tensor]:
        epoch, start, order = key
        rows = self.rows[order]
        batch = [
            self.augment(self.images[row], self.seed, epoch, start + offset, int(order[offset]))
            for offset, row in enumerate(rows)
        ]
        return torch.from_numpy(np.stack(batch)), torch.from_numpy(self.labels[rows])


def check_shared_memory(batch: int, workers: int) -> None:
    """Refuse `workers` processes whose prepared batches of `batch` bytes have no room: torch would wait for ever.

    Raises :class:`zoo.errors.MachineError`.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    free, need = shutil.disk_usage(SHARED_MEMORY).free, (AHEAD * workers + 1) * batch
    if need > free:
        enough = max(0, (free // batch - 1) // AHEAD)
        raise MachineError(
            f"{workers} loader processes need {need / 1e6:.0f} MB of shared memory, and {SHARED_MEMORY} has "
            f"{free / 1e6:.0f} MB free; enlarge it (in a container, its shm size) or give ",
            Option("workers", str(enough)),
        )


def start_method(device: torch.device) -> str:
    """How the processes of a loader for `device` begin: forked on Linux without an accelerator, else anew.

    A fork hangs now and then once CUDA has started, and crashes on macOS, whose libraries have threads of their own.
    """
    forked = sys.platform == "linux" and device.type == "cpu" and accelerator() is None
    return "fork" if forked else "spawn"


@contextlib.contextmanager
def uninterrupted(method: str) -> Iterator[None]:
    """Processes that start anew in the block are not interrupted by Ctrl-C: each would print a traceback of imports.

    The process that starts them is interrupted after the block, and ends them.
    """
    if sys.platform == "win32" or method == "fork":
        yield
        return
    resource_tracker.ensure_running()  # which, as it starts, ends what is done here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def one_thread(worker: int) -> None:
    """Workers are the parallelism; more threads inside each would only fight over the cores."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def next_batch(batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The next of a DataLoader's `batches`, waited for twice: its clock goes on while all is stopped (SIGSTOP)."""
    try:
        return next(batches)
    except RuntimeError as problem:
        if not _TIMED_OUT.match(str(problem)):
            raise
    return next(batches)


def killed_worker(problem: BaseException) -> MachineError | None:
    """The error to report where `problem` means that a worker process was killed, else None.

    torch raises it from a signal handler: wherever this process happens to be, not where it waits for a batch. A
    process that is killed while it hands over a batch breaks the connection instead.
    """
    advice = (", most likely because the memory is full; free some or give fewer ", Option("workers"))
    frames = traceback.walk_tb(problem.__traceback__)
    if isinstance(problem, ConnectionError | EOFError) and any(
        frame.f_globals.get("__name__") == "torch.multiprocessing.reductions" for frame, _ in frames
    ):
        return MachineError("a loader process was killed", *advice)
    text = f"{problem} {problem.__cause__}"  # the reason can be either's
    if _TIMED_OUT.match(text):
        return MachineError(
            f"the loader's processes made no batch in {2 * WAIT} s; look for a full {SHARED_MEMORY} or disk, or give ",
            Option("workers", "0"),
        )
    if not re.match(r"DataLoader worker \(pid.*?\) (is killed by signal|exited unexpectedly)", text):
        return None
    if "shared memory" in text:
        return MachineError(
            "a loader process ran out of shared memory (/dev/shm); enlarge it or give ", Option("workers", "0")
        )
    signal = re.search(r"killed by signal: ([\w ]+)", text)
    return MachineError(f"a loader process was killed{f' ({signal[1].strip()})' if signal else ''}", *advice)
