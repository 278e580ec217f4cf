"""What this machine is and can do: device, native precision, memory, and the record of it that each result keeps."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from zoo.builder.construct import LIBRARIES
from zoo.errors import EnvironmentFault
from zoo.utils.version import __version__

# mallopt(3), glibc's <malloc.h>: no mapping of its own for a large block, nothing given back to the system.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
KEPT = "freed memory kept"
ALLOCATOR_VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_")
_settled: dict[str, str | None] = {"malloc": None}  # the C library does not tell


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is the GPU where there is one, else the CPU. Raises :class:`EnvironmentFault` for one not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise EnvironmentFault(f"--device {name}: no such kind of device; use auto, cpu, cuda or cuda:0") from problem
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(f"--device {name}: torch sees no GPU here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"--device {name}: there are only {torch.cuda.device_count()} GPUs, counted from cuda:0")
    if device.type not in ("cpu", "cuda"):
        raise EnvironmentFault(f"--device {name}: only cpu and cuda are supported")
    return device


def check_compiler(device: torch.device) -> None:
    """torch.compile makes C++ for a CPU. Raises :class:`EnvironmentFault` where nothing can compile it."""
    if device.type == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")):
        raise EnvironmentFault("--compile: no C++ compiler found (g++, clang++ or $CXX); install one, or leave it out")


def native_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware. Emulation works too, but is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = _cpu_flags()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)


def settle_precision(device: torch.device) -> str:
    """What a recipe's ``precision: auto`` means on `device`."""
    return "bf16" if native_bf16(device) else "fp32"


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy: its affinity, cut to the quota of its control group (a container's limit).

    `root`: where /proc and /sys are found.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(min(_quotas(root), default=cores))))


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each control group around this process grants (cgroups(7), versions 2 and 1)."""
    with contextlib.suppress(OSError, StopIteration):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        inside = next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
        group = root / "sys/fs/cgroup"
        for folder in (group, *(group / part for part in _prefixes(inside))):
            yield from _quota(folder / "cpu.max", folder / "cpu.max")
    folder = root / "sys/fs/cgroup/cpu"
    yield from _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _prefixes(path: str) -> list[Path]:
    """``a/b`` gives ``a`` and ``a/b``: a limit on any level holds."""
    parts = Path(path).parts
    return [Path(*parts[: count + 1]) for count in range(len(parts))]


def _quota(quota: Path, period: Path) -> Iterator[float]:
    """Quota over period, both in microseconds; nothing where there is no limit (``max``, -1) or no such file."""
    with contextlib.suppress(OSError, ValueError):
        limit = float(quota.read_text().split()[0])
        if limit > 0 and math.isfinite(limit):
            yield limit / float(period.read_text().split()[-1])


def settle_threads() -> None:
    """No more of torch's threads than cores: in a container torch counts the host's, and they wait for each other.

    A number that the user set in ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` stays.
    """
    if not (os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS")):
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def settle_memory(device: torch.device) -> None:
    """Memory that a training step frees on a CPU `device` stays with this process, for the next step (glibc).

    glibc gives a large tensor's memory back to the system, which hands it out again page by page, zeroed, one step
    later. What the user set in ``MALLOC_*``, ``GLIBC_TUNABLES`` or ``LD_PRELOAD`` stays, and so does another C library.
    """
    asked = any(name.startswith(ALLOCATOR_VARIABLES) for name in os.environ)
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc" and not asked:
        mallopt = ctypes.CDLL(None).mallopt
        _settled["malloc"] = KEPT if mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1) else None


def synchronize(device: torch.device) -> None:
    """Wait for the work queued on `device`; on the CPU nothing is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def exact_float32() -> None:
    """From now on fp32 is fp32: cuDNN would round to TF32 under the same recipe as a CPU, which does not.

    cuBLAS would where ``TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`` says so, as in some containers.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def settle_arithmetic(deterministic: bool) -> None:
    """fp32 is fp32; with `deterministic` torch picks only algorithms that give the same bits each time.

    It then raises where an operation has none. On a CPU everything that zoo runs is so anyway. cuBLAS reads its setting
    when it is first used.
    """
    exact_float32()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it did not write
    torch.backends.cudnn.benchmark = False  # it picks algorithms by the clock


def fresh_compiler(compiled: bool) -> None:
    """Before each model that is `compiled`: torch forgets the others.

    Models of one class share the code of their forward pass, which torch compiles for 8 of them and then no more: it
    would run the ninth uncompiled.
    """
    if compiled:
        torch.compiler.reset()


class ResidentPeak:
    """Peak resident set of this process since construction (Linux)."""

    def __init__(self) -> None:
        self.known = True
        if _settled["malloc"]:  # what earlier work freed is still resident, and would count
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
        except OSError:
            self.known = False

    def read(self) -> int | None:
        """Bytes, or None where the system does not tell."""
        if not self.known:
            return None
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


class PeakMemory:
    """Peak memory since construction: the allocator's on a GPU, the process' resident set on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.resident = ResidentPeak() if device.type == "cpu" else None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int | None:
        """Bytes, or None where the system does not tell."""
        return self.resident.read() if self.resident else torch.cuda.max_memory_allocated(self.device)


def describe(device: torch.device) -> dict[str, Any]:
    """Hardware and software, as each result records them. Speeds are compared only where these are equal."""
    return {
        "zoo": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        # Processors of one marketing name differ in this, and threefold in speed.
        "instructions": torch.backends.cpu.get_cpu_capability() + " with bf16" * native_bf16(torch.device("cpu")),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "malloc": _settled["malloc"],
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


@functools.cache
def zoo_commit() -> dict[str, Any] | None:
    """:func:`git_state` of zoo's own source when this process first asked: what changes later is not what runs."""
    return git_state(Path(__file__))


def git_state(file: Path) -> dict[str, Any] | None:
    """The commit of the repository that tracks `file`, and whether tracked files differ from it.

    None where git does not track it, as in an installed wheel.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", file.parent, *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _cpu_flags() -> set[str]:
    for line in _cpu_info().splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.split(":", 1)[1].split())
    return set()


def _cpu_name() -> str:
    for line in _cpu_info().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
