"""What this machine is and can do: device, native precision, memory, and the record of it that each result keeps."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable

import torch

from zoo.errors import MachineError, Option
from zoo.utils.cpu import cpu_flags, threads_in_environment, usable_cores

TURN_SECONDS = 0.15  # of a measurement that takes turns


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is the GPU where there is one, else the CPU. Raises :class:`MachineError` for one not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    option = Option("device", name)
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise MachineError(option, ": no such kind of device; use auto, cpu, cuda or cuda:0") from problem
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MachineError(option, ": torch sees no GPU here; use ", Option("device", "cpu"))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(option, f": there are only {torch.cuda.device_count()} GPUs, counted from cuda:0")
    if device.type not in ("cpu", "cuda"):
        raise MachineError(option, ": only cpu and cuda are supported")
    return device


def check_compiler(device: torch.device) -> None:
    """torch.compile makes C++ for a CPU. Raises :class:`MachineError` where nothing can compile it."""
    if device.type == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")):
        missing = ": no C++ compiler found (g++, clang++ or $CXX); install one, or leave it out"
        raise MachineError(Option("compile"), missing)


def native_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware. Emulation works too, but is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = cpu_flags()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)


def resolve_precision(device: torch.device) -> str:
    """What a recipe's ``precision: auto`` means on `device`."""
    return "bf16" if native_bf16(device) else "fp32"


def configure_threads(count: int | None = None, jobs: int = 1) -> None:
    """Give torch `count` threads. Without that no more than cores, which `jobs` runs share evenly.

    In a container torch counts the host's cores. A number that the user set in ``OMP_NUM_THREADS`` or
    ``MKL_NUM_THREADS`` stays where there is no `count`.
    """
    if count:
        torch.set_num_threads(count)
    elif not threads_in_environment():
        torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores()) // jobs))


def gain_of_fewer(fewer: int) -> float:
    """How many times as fast a convolution is with `fewer` threads as with torch's own number; takes a second.

    The two take turns, and the median of the turns' ratios counts.
    """
    threads, images, weights = torch.get_num_threads(), torch.ones(16, 64, 16, 16), torch.ones(64, 64, 3, 3)

    def rate(count: int) -> float:
        torch.set_num_threads(count)
        start, done = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < TURN_SECONDS:
            torch.nn.functional.conv2d(images, weights, padding=1)
            done += 1
        return done / passed

    try:
        return statistics.median(rate(fewer) / rate(threads) for _ in range(3))
    finally:
        torch.set_num_threads(threads)


def synchronize(device: torch.device) -> None:
    """Wait for the work queued on `device`; on the CPU nothing is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work` with nothing queued on `device` before or after it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def exact_float32() -> None:
    """From now on fp32 is fp32: cuDNN would round to TF32 under the same recipe as a CPU, which does not.

    cuBLAS would where ``TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`` says so, as in some containers.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def configure_arithmetic(deterministic: bool) -> None:
    """fp32 is fp32; with `deterministic` torch picks only algorithms that give the same bits each time.

    It then raises where an operation has none. On a CPU everything that zoo runs is so anyway. cuBLAS reads its setting
    when it is first used.
    """
    exact_float32()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Nothing here reads what it did not write. The module's class defines it, which its types leave out.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False  # it picks algorithms by the clock


def fresh_compiler(compiled: bool) -> None:
    """Before each model that is `compiled`: torch forgets the others.

    Models of one class share the code of their forward pass, which torch compiles for 8 of them and then no more: it
    would run the ninth uncompiled.
    """
    if compiled:
        torch.compiler.reset()
