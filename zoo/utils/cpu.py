"""The processor: usable cores, how much of them is free, instruction set, name."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import math
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# By implementer and part, as /proc/cpuinfo has them; others are named by the numbers.
ARM = {
    ("0x41", "0xd03"): "ARM Cortex-A53", ("0x41", "0xd08"): "ARM Cortex-A72", ("0x41", "0xd0b"): "ARM Cortex-A76",
    ("0x41", "0xd0c"): "ARM Neoverse-N1", ("0x41", "0xd40"): "ARM Neoverse-V1", ("0x41", "0xd49"): "ARM Neoverse-N2",
    ("0x41", "0xd4f"): "ARM Neoverse-V2", ("0x46", "0x001"): "Fujitsu A64FX", ("0x48", "0xd01"): "HiSilicon TSV110",
    ("0xc0", "0xac3"): "Ampere-1",
}  # fmt: skip
ENOUGH = 0.9  # of the time of a core: a thread that gets less shares the core with other work


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy: its affinity, cut to the quota of its control group (a container's limit).

    `root`: where /proc and /sys are found.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(min(_quotas(root), default=cores))))


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each control group around this process grants (cgroups(7), versions 2 and 1)."""
    for folder in control_groups(root):
        yield from _quota(folder / "cpu.max", folder / "cpu.max")
    folder = root / "sys/fs/cgroup/cpu"
    yield from _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def control_groups(root: Path) -> list[Path]:
    """The folders of the control groups around this process (cgroups(7), version 2): a limit on any level holds."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    group = root / "sys/fs/cgroup"
    inside = [Path(line.removeprefix("0::/")).parts for line in lines if line.startswith("0::/")]
    return [group.joinpath(*parts[:count]) for parts in inside[:1] for count in range(len(parts) + 1)]


def _quota(quota: Path, period: Path) -> Iterator[float]:
    """Quota over period, both in microseconds; nothing where there is no limit (``max``, -1) or no such file."""
    with contextlib.suppress(OSError, ValueError):
        limit = float(quota.read_text().split()[0])
        if limit > 0 and math.isfinite(limit):
            yield limit / float(period.read_text().split()[-1])


def share_of_cores(threads: int) -> float:
    """The share of a core that each of `threads` gets when all are busy: their CPU time over the time that passed.

    Takes a fifth of a second where that is :data:`ENOUGH`, else a second. A load average would be that of a container's
    host.
    """
    share = _busy(threads, 0.2)
    return share if share >= ENOUGH else _busy(threads, 0.8)


def free_cores(threads: int, share: float) -> int:
    """How many of `threads` have a core to themselves, by the `share` of one that each gets when all are busy.

    All that wants to run, other work too, shares the cores evenly, so it is the cores over the share.
    """
    cores = usable_cores()
    return max(1, min(threads, round(cores - (cores / share - threads))))


def threads_in_environment() -> bool:
    """Whether the user's environment sets the number of threads."""
    return any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))


def _busy(threads: int, seconds: float) -> float:
    block, shares = bytes(2**22), []

    def work() -> None:
        start, used = time.perf_counter(), time.thread_time()
        while (passed := time.perf_counter() - start) < seconds:
            hashlib.sha256(block)  # milliseconds without the interpreter's lock
        shares.append((time.thread_time() - used) / passed)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(shares) / threads


@functools.cache
def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def cpu_flags() -> set[str]:
    """The instruction set extensions that the system reports; empty where it reports none."""
    for line in _cpu_info().splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.split(":", 1)[1].split())
    return set()


def cpu_name() -> str:
    """The marketing name of the processor, as its system has it."""
    lines = [line.partition(":") for line in _cpu_info().splitlines()]
    facts = {(key.strip(), text.strip()): None for key, _, text in lines}  # each once, in their order
    parts = [text for key, text in facts if key == "CPU part"]
    makers = [text for key, text in facts if key == "CPU implementer"]
    if parts and makers:  # ARM, where Linux has numbers; small and large cores differ
        return " + ".join(ARM.get((makers[0], part), f"ARM {makers[0]} part {part}") for part in parts)
    names = [text for key, text in facts if key == "model name"]
    systems = {"darwin": _name_on_macos, "win32": _name_on_windows}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        names += [systems[sys.platform]()] if sys.platform in systems else []
    return next(filter(None, names), "") or platform.processor() or platform.machine()


def _name_on_macos() -> str:
    asks = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(asks, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _name_on_windows() -> str:
    winreg: Any = importlib.import_module("winreg")
    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
        return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
