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

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from zoo.engine.environment import describe, git_state
from zoo.engine.machine import choose_device, configure_threads, fresh_compiler, native_bf16, resolve_precision
from zoo.engine.memory import ALLOCATOR_VARIABLES, PeakMemory
from zoo.errors import MachineError

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


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cuda", "device cuda: torch sees no GPU here; use device cpu"),
        ("cuda:1", "device cuda:1: torch sees no GPU here; use device cpu"),
        ("cpuu", "device cpuu: no such kind of device; use auto, cpu, cuda or cuda:0"),
        ("gpu", "device gpu: no such kind of device; use auto, cpu, cuda or cuda:0"),
        ("warp", "device warp: no such kind of device; use auto, cpu, cuda or cuda:0"),
        ("cuda:x", "device cuda:x: no such kind of device; use auto, cpu, cuda or cuda:0"),
        ("", "device : no such kind of device; use auto, cpu, cuda or cuda:0"),
        ("meta", "device meta: only cpu and cuda are supported"),
    ],
)
def test_wrong_device(monkeypatch: pytest.MonkeyPatch, name: str, told: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError) as caught:
        choose_device(name)
    assert str(caught.value) == told


def test_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(MachineError) as caught:
        choose_device("cuda:2")
    assert str(caught.value) == "device cuda:2: there are only 2 GPUs, counted from cuda:0"


def test_bf16_is_native_where_the_processor_says_so() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("this system has no /proc/cpuinfo")
    native = bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpuinfo.read_text().split()))
    assert native_bf16(CPU) is native
    assert resolve_precision(CPU) == ("bf16" if native else "fp32")


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
