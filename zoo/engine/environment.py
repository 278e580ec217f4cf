"""Hardware, software and the state of zoo's source, as each result records them."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from zoo.engine.machine import native_bf16
from zoo.engine.memory import allocator
from zoo.registry.importing import LIBRARIES
from zoo.registry.model import BUILT_IN
from zoo.results.fields import Git
from zoo.utils.cpu import cpu_name, usable_cores
from zoo.utils.device import backend, is_accelerator
from zoo.utils.version import __version__

# Since 2 processors and GPUs have names on every system. Older results keep theirs, and so their machine's letter.
DESCRIPTION_VERSION = 2


def device_name(device: torch.device) -> str:
    """The name of an accelerator. An Apple GPU has that of its chip, and chips of one name differ in its cores."""
    if hasattr(backend(device), "get_device_name"):
        return str(backend(device).get_device_name(device))
    count: Callable[[], int] | None = getattr(torch.backends.mps, "get_core_count", None)  # newer than torch 2.8
    return f"{cpu_name()} GPU" + (f", {count()} cores" if count else "")


def describe(device: torch.device) -> dict[str, Any]:
    """Hardware and software, as each result records them. Speeds are compared only where these are equal."""
    return {
        "description_version": DESCRIPTION_VERSION,
        "zoo": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": " ".join(cpu_name().split()),
        # Processors of one marketing name differ in this, and threefold in speed.
        "instructions": torch.backends.cpu.get_cpu_capability() + " with bf16" * native_bf16(torch.device("cpu")),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "malloc": allocator["malloc"],
        "gpu": device_name(device) if is_accelerator(device) else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


@functools.cache
def zoo_commit() -> Git | None:
    """:func:`git_state` of zoo's own source when this process first asked: what changes later is not what runs."""
    package = Path(__file__).resolve().parents[1]
    return git_state(package / "__init__.py", package, BUILT_IN)


def git_state(file: Path, *code: Path) -> Git | None:
    """The commit of the repository that tracks `file`, and whether tracked files of `code` (folders, files) differ.

    None where git does not track it, as in an installed wheel.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", file.parent, *arguments],
            capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        if not git("ls-files", file.name):
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "-s", "-uno", "--", *map(str, code)))}
    except (OSError, subprocess.SubprocessError):
        return None
