"""Memory: what the C library keeps between steps, and the peak of a training."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import torch

from zoo.utils.device import backend, is_accelerator

# mallopt(3), glibc's <malloc.h>: no mapping of its own for a large block, nothing given back to the system.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
KEPT = "freed memory kept"
ALLOCATOR_VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_")
allocator: dict[str, str | None] = {"malloc": None}  # the C library does not tell


def configure_allocator(device: torch.device) -> None:
    """Memory that a training step frees on a CPU `device` stays with this process, for the next step (glibc).

    glibc gives a large tensor's memory back to the system, which hands it out again page by page, zeroed, one step
    later. What the user set in ``MALLOC_*``, ``GLIBC_TUNABLES`` or ``LD_PRELOAD`` stays, and so does another C library.
    """
    asked = any(name.startswith(ALLOCATOR_VARIABLES) for name in os.environ)
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc" and not asked:
        mallopt = ctypes.CDLL(None).mallopt
        allocator["malloc"] = KEPT if mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1) else None


class PeakMemory:
    """Peak memory since construction: the allocator's on an accelerator, the process' resident set on the CPU (Linux).

    `held`: what of the accelerator's was taken by then.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.reported, self.held = device, True, 0
        if is_accelerator(device):
            self.reported = hasattr(backend(device), "max_memory_allocated")  # an Apple GPU's is not counted
            if self.reported:
                backend(device).reset_peak_memory_stats(device)
                self.held = int(backend(device).memory_allocated(device))
            return
        if allocator["malloc"]:  # what earlier work freed is still resident, and would count
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
        except OSError:
            self.reported = False

    def read(self) -> int | None:
        """Bytes, or None where the system does not tell."""
        if not self.reported:
            return None
        if is_accelerator(self.device):
            return int(backend(self.device).max_memory_allocated(self.device))
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
