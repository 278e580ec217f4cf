"""What this machine is: devices, native precision, peak memory."""

from __future__ import annotations

import json
import mmap
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from zoo.engine import machine
from zoo.engine.environment import describe, device_name, git_state
from zoo.engine.machine import (
    KINDS,
    check_compiler,
    choose_device,
    configure_threads,
    fresh_compiler,
    native_bf16,
    on_trial,
    resolve_precision,
)
from zoo.engine.memory import ALLOCATOR_VARIABLES, PeakMemory
from zoo.errors import MachineError
from zoo.utils.device import has_own_memory

CPU = torch.device("cpu")
# Thirty times 64 MiB: what is given back to the system comes back as a fault for each of its pages.
FAULTS = """
import resource, torch
from zoo.engine.environment import describe
from zoo.engine.memory import configure_allocator

cpu = torch.device("cpu")
configure_allocator(cpu)
for _ in range(10):  # places for it are found
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, describe(cpu)["malloc"], sep="|")
"""
# A peak of 256 MiB, and after it one of 8.
PEAKS = """
import torch
from zoo.engine.memory import PeakMemory, configure_allocator

configure_allocator(torch.device("cpu"))
start = PeakMemory(torch.device("cpu")).read()
peaks = []
for size in (2**26, 2**21):
    peak = PeakMemory(torch.device("cpu"))
    torch.ones(size)
    peaks.append(peak.read() - start)
print(*peaks)
"""


def pretend(monkeypatch: pytest.MonkeyPatch, kind: str | None, count: int = 1) -> None:
    """torch has accelerators of this `kind` here, or none."""
    here = torch.device(kind) if kind else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: here)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count if kind else 0)


def test_threads_are_cut_to_the_cores_unless_the_user_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("zoo.engine.machine.usable_cores", lambda: 3)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        torch.set_num_threads(5)
        configure_threads()
        assert torch.get_num_threads() == 5
        monkeypatch.delenv("OMP_NUM_THREADS")
        configure_threads()
        assert torch.get_num_threads() == 3
        torch.set_num_threads(1)
        configure_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told what to do")
def test_freed_memory_is_kept_unless_the_user_set_up_the_allocator() -> None:
    def faults(**env: str) -> tuple[int, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(ALLOCATOR_VARIABLES)}
        told = subprocess.check_output([sys.executable, "-c", FAULTS], env=clean | env, text=True)
        count, kept = told.strip().split("|")
        return int(count), kept

    pages = 2**26 // resource.getpagesize()
    count, kept = faults()
    assert kept == "freed memory kept"
    assert count < pages
    count, kept = faults(MALLOC_ARENA_MAX="2")
    assert kept == "None"
    assert count > 20 * pages


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told what to do")
def test_every_model_of_a_class_is_compiled() -> None:
    counter = CompileCounter()  # makes no code, counts what it is asked for

    class Model(nn.Module):
        def __init__(self, norm: nn.Module) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x)

    norms = [nn.Dropout(), nn.ReLU(), nn.GELU(), nn.SiLU(), nn.ELU(), nn.Tanh(), nn.Sigmoid(), nn.Mish(), nn.CELU()]
    for norm in [*norms, nn.SELU()]:
        fresh_compiler(True)
        torch.compile(Model(norm), backend=counter)(torch.ones(2, 3))
    assert counter.frame_count == 10  # torch stops after 8 of one code


def test_a_peak_is_not_that_of_the_work_before() -> None:
    large, small = map(int, subprocess.check_output([sys.executable, "-c", PEAKS], text=True).split())
    assert large > 2**27
    assert small < 2**26


@pytest.mark.parametrize(
    ("here", "auto", "tried"),
    [("cuda", "cuda", None), ("mps", "cpu", "mps"), ("xpu", "cpu", None), (None, "cpu", None)],
)
def test_auto_is_a_cuda_gpu_or_after_a_trial_apples(
    monkeypatch: pytest.MonkeyPatch, here: str | None, auto: str, tried: str | None
) -> None:
    """Intel's is taken only when it is asked for."""
    pretend(monkeypatch, here)
    assert choose_device() == torch.device(auto)
    assert on_trial("auto") == (torch.device(tried) if tried else None)
    assert choose_device("cpu") == CPU
    assert on_trial("cpu") is None
    if here:
        assert choose_device(here) == torch.device(here)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cuda", "device cuda: torch sees no GPU here; use device cpu"),
        ("cuda:1", "device cuda:1: torch sees no GPU here; use device cpu"),
        ("mps", "device mps: torch sees no Apple GPU here; use device cpu"),
        ("xpu:0", "device xpu:0: torch sees no Intel GPU here; use device cpu"),
        *(
            (name, f"device {name}: no such kind of device; use {KINDS}")
            for name in ("cpuu", "gpu", "warp", "cuda:x", "")
        ),
        ("meta", f"device meta: is not supported; use {KINDS}"),
        ("hpu", f"device hpu: is not supported; use {KINDS}"),
    ],
)
def test_wrong_device(monkeypatch: pytest.MonkeyPatch, name: str, told: str) -> None:
    pretend(monkeypatch, None)
    with pytest.raises(MachineError) as caught:
        choose_device(name)
    assert str(caught.value) == told


def test_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cuda", count=2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(MachineError) as caught:
        choose_device("cuda:2")
    assert str(caught.value) == "device cuda:2: there are only 2 GPUs, counted from cuda:0"
    with pytest.raises(MachineError, match="torch sees no Apple GPU here"):
        choose_device("mps")


def test_bf16_is_native_where_the_processor_says_so() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("this system has no /proc/cpuinfo")
    native = bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpuinfo.read_text().split()))
    assert native_bf16(CPU) is native
    assert resolve_precision(CPU) == ("bf16" if native else "fp32")


def test_bf16_is_asked_of_torch_where_there_is_no_proc_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, whose precision, and so fingerprint, is then that of the same processor under Linux."""
    monkeypatch.setattr("zoo.engine.machine.cpu_flags", set)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    for capability in ("avx512_bf16", "amx_bf16", "bf16"):
        for there in (True, False):
            facts = {capability: there, "architecture": "x86_64", "num_cores": 8}
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda facts=facts: facts, raising=False)
            machine.instructions.cache_clear()
            assert resolve_precision(CPU) == ("bf16" if there else "fp32")
    machine.instructions.cache_clear()
    monkeypatch.undo()


@pytest.mark.parametrize(("hardware", "precision"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_trains_in_fp16(monkeypatch: pytest.MonkeyPatch, hardware: bool, precision: str) -> None:
    """As a T4 or a V100; torch would compute bf16 there in software."""
    asked = []

    class Chosen:
        def __init__(self, device: torch.device) -> None:
            asked.append(device)

        def __enter__(self) -> None: ...

        def __exit__(self, *problem: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Chosen)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or hardware
    )
    assert resolve_precision(torch.device("cuda:1")) == precision
    assert asked == [torch.device("cuda:1")]


def refusal_to_compile(device: str) -> str:
    with pytest.raises(MachineError) as caught:
        check_compiler(torch.device(device))
    return str(caught.value)


def test_compile_looks_for_its_compiler_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton and C for a GPU, C++ for a CPU."""
    there = {"gcc", "g++"}
    monkeypatch.setattr("shutil.which", lambda name: name if name in there else None)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    check_compiler(CPU)
    check_compiler(torch.device("cuda"))

    monkeypatch.setitem(sys.modules, "triton", None)  # importing it fails
    needs = "compile: needs Triton for a GPU, which cannot be imported; pip install"
    assert refusal_to_compile("cuda") == f"{needs} triton, or leave it out"
    check_compiler(CPU)
    there.clear()
    assert refusal_to_compile("cpu").startswith("compile: no C++ compiler found (g++, clang++ or $CXX); install one")
    assert refusal_to_compile("mps") == "compile: torch compiles LayerNorm wrongly for Apple GPUs; leave it out"

    monkeypatch.setattr(sys, "platform", "win32")
    assert refusal_to_compile("cpu").startswith("compile: no C++ compiler found (cl or $CXX); install one")
    assert refusal_to_compile("cuda") == f"{needs} triton-windows, or leave it out"
    there.add("cl")
    check_compiler(CPU)
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    check_compiler(torch.device("cuda"))  # it brings its own


def test_an_apple_gpu_has_the_name_of_its_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.engine.environment.cpu_name", lambda: "Apple M1")
    monkeypatch.setattr(torch.backends.mps, "get_core_count", lambda: 7, raising=False)
    assert device_name(torch.device("mps")) == "Apple M1 GPU, 7 cores"
    assert device_name(torch.device("mps")) == describe_gpu("mps")


def describe_gpu(kind: str) -> str:
    return str(describe(torch.device(kind))["gpu"])


def test_an_apple_gpu_has_no_memory_of_its_own() -> None:
    """torch does not count what it takes there; copies need no pinned memory, and what is free is the machine's."""
    apple = torch.device("mps")
    assert PeakMemory(apple).read() is None
    assert not has_own_memory(apple)
    assert not has_own_memory(CPU)
    assert has_own_memory(torch.device("cuda"))
    assert has_own_memory(torch.device("xpu"))


def test_peak_memory_rises_and_starts_again() -> None:
    first = PeakMemory(CPU)
    before = first.read()
    if before is None:
        pytest.skip("this system does not tell the peak of a process")
    # Not by malloc, which keeps freed memory where an earlier test of this process settled it so, and gives that again.
    with mmap.mmap(-1, 100 * 2**20) as block:
        np.frombuffer(block, np.uint8).fill(1)  # written, so that it is resident
    after = first.read()
    assert 90 * 2**20 < after - before < 200 * 2**20
    assert first.read() >= after  # a peak does not fall, though the block is gone
    assert PeakMemory(CPU).read() < after - 50 * 2**20


def test_description_is_plain_and_whole() -> None:
    said = describe(CPU)
    assert json.loads(json.dumps(said)) == said
    assert said["torch"] == torch.__version__.split("+")[0] or said["torch"] == torch.__version__
    assert said["cores"] >= 1
    assert said["threads"] == torch.get_num_threads()
    assert (said["gpu"], said["cuda"]) == (None, None)
    assert said["cpu"]


def test_git_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.write_text("one")
    assert git_state(file) is None
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], check=True)
    (tmp_path / "untracked").write_text("x")
    assert git_state(tmp_path / "untracked") is None  # an environment inside somebody's repository
    clean = git_state(file)
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    file.write_text("two")
    assert git_state(file) == {"commit": clean["commit"], "dirty": True}


def test_only_zoos_own_files_make_its_checkout_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of the docs that is being written changes no run; a recipe or a module does."""
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    package, registry, page = tmp_path / "zoo", tmp_path / "registry.yaml", tmp_path / "docs" / "page.md"
    module = package / "norms" / "ln.py"
    for file in (module, registry, page):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("one")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)

    def dirty() -> bool:
        return git_state(module, package, registry)["dirty"]

    page.write_text("two")
    assert not dirty()
    for file in (module, registry):
        file.write_text("two")
        assert dirty()
        file.write_text("one")
    assert not dirty()
