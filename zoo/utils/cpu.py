"""The processor: usable cores, how much of them is free, instruction set, name."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
    """The marketing name of the processor."""
    for line in _cpu_info().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
