"""What this machine is and can do: device, native precision, memory, and the record of it that each result keeps."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch

from zoo.errors import MachineError, Option
from zoo.utils.cpu import cpu_flags, threads_in_environment, usable_cores
from zoo.utils.device import accelerator, backend, is_accelerator, is_here, synchronize

TURN_SECONDS = 0.15  # of a measurement that takes turns
ACCELERATORS = ("cuda", "mps", "xpu")
PROVEN, ON_TRIAL = ("cpu", "cuda"), ("mps",)  # the others have a trial; `auto` takes the last one after it
# In channels-last BatchNorm's gradients were wrong (pytorch#175189), and LayerNorm is when compiled (pytorch#191976).
NCHW_ONLY = ("mps",)
KINDS = "auto, cpu, cuda, cuda:0, mps or xpu"
NAMES = {"mps": "Apple GPU", "xpu": "Intel GPU"}
BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is the CUDA GPU where there is one, else the CPU. Raises :class:`MachineError` for one not there.

    What else torch may have here is taken when it is asked for, or after a trial (:func:`on_trial`).
    """
    here = accelerator()
    if name == "auto":
        return here if here and here.type == "cuda" else torch.device("cpu")
    option = Option("device", name)
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise MachineError(option, f": no such kind of device; use {KINDS}") from problem
    if device.type == "cpu":
        return device
    if device.type not in (*ACCELERATORS, *ON_TRIAL):
        raise MachineError(option, f": is not supported; use {KINDS}")
    if not is_here(device):
        kind = NAMES.get(device.type, "GPU")
        raise MachineError(option, f": torch sees no {kind} here; use ", Option("device", "cpu"))
    if (device.index or 0) >= (count := torch.accelerator.device_count()):
        there = "is only 1 GPU" if count == 1 else f"are only {count} GPUs"
        raise MachineError(option, f": there {there}, counted from {device.type}:0")
    return device


def on_trial(name: str) -> torch.device | None:
    """The device that ``auto`` takes only where a step of every model gives there what it gives on the CPU."""
    here = accelerator()
    return here if name == "auto" and here and here.type in ON_TRIAL else None


def check_compiler(device: torch.device) -> None:
    """torch.compile makes C++ for a CPU and Triton's code for a GPU. Raises :class:`MachineError` where it cannot."""
    option = Option("compile")
    if is_nchw_only(device):
        raise MachineError(option, f": torch compiles LayerNorm wrongly for {NAMES[device.type]}s; leave it out")
    on_windows = sys.platform == "win32"
    language, variable, names = "C++", "CXX", ["cl"] if on_windows else ["g++", "clang++"]
    if is_accelerator(device):
        try:
            importlib.import_module("triton")
        except Exception as problem:  # not there, or broken
            package = "triton-windows" if on_windows else "triton"
            missing = f": needs Triton for a GPU, which cannot be imported; pip install {package}, or leave it out"
            raise MachineError(option, missing) from problem
        if on_windows:  # there Triton brings its own compiler of C
            return
        language, variable, names = "C", "CC", ["gcc", "clang", "cc"]
    if not any(shutil.which(name) for name in (os.environ.get(variable) or names[0], *names[1:])):
        missing = f": no {language} compiler found ({', '.join(names)} or ${variable}); install one, or leave it out"
        raise MachineError(option, missing)


def native_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware. Emulation works too, but is slower than float32."""
    if not is_accelerator(device):
        # Without oneDNN torch has no fast convolution of it, whatever the processor has.
        return bool(BF16 & instructions()) and torch._C._has_mkldnn
    module = backend(device)
    if hasattr(module, "is_bf16_supported"):
        with module.device(device):
            return bool(module.is_bf16_supported(including_emulation=False))
    try:  # an older macOS has it not at all
        torch.ones(1, dtype=torch.bfloat16, device=device).add_(1)
    except (RuntimeError, TypeError):
        return False
    return True


@functools.cache
def instructions() -> frozenset[str]:
    """The instruction set extensions of the processor, as torch finds them and as the system reports them."""
    asks: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)  # newer than torch 2.8
    has_bf16: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    names = {name for name, there in asks().items() if there is True} | ({"avx512_bf16"} if has_bf16() else set())
    return frozenset(names | cpu_flags())


def resolve_precision(device: torch.device) -> str:
    """What a recipe's ``precision: auto`` means on `device`: bf16 in hardware, else fp16 on a GPU and fp32 on a CPU."""
    if native_bf16(device):
        return "bf16"
    return "fp16" if is_accelerator(device) else "fp32"


def is_nchw_only(device: torch.device) -> bool:
    """Whether torch's kernels for `device` are wrong in channels-last."""
    return device.type in NCHW_ONLY


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
