"""How much memory there is, so that a size can be refused before it is taken."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from zoo.utils.cpu import control_groups

if sys.platform != "win32":
    import resource


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may take: the machine's, cut to the limits of its control groups and of ``ulimit``.

    `root`: where /proc and /sys are found.
    """
    return min(_limits(root), default=sys.maxsize)


def _limits(root: Path) -> Iterator[int]:
    if sys.platform != "win32":
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
                yield soft
    version_1 = root / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    for file in (*(folder / "memory.max" for folder in control_groups(root)), version_1):
        with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
            yield int(file.read_text())


def size(count: float) -> str:
    """`count` bytes in words: ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
