"""Processes that run on a disk which lacks something, by a library that is preloaded: compiled here, else skipped."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


@functools.cache
def library() -> Path:
    """The compiled ``disk.c``; skips where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None or not Path("/proc/self/fd").is_dir():
        pytest.skip("no C compiler here, or no Linux: no library can be preloaded")
    folder = tempfile.mkdtemp(prefix="zoo-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, source, "-ldl"], check=True)
    return path


def environment(**lacks: int) -> dict[str, str]:
    """What preloads the library; `lacks` as ``flock=errno.ENOTSUP``: what the disk answers to that call."""
    words = " ".join(f"{call}={number}" for call, number in lacks.items())
    return {**os.environ, "LD_PRELOAD": str(library()), "ZOO_DISK_LACKS": words}
