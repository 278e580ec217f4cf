"""A bench whose threads share the cores with other work says so at its start."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from zoo.cli.job import warn_of_load
from zoo.utils.cpu import ENOUGH, share_of_cores

REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
SPEED = ("speed", "mini_bn", "--recipe", "smoke", "--set", "batch_size=8", "--layout", "nchw", "--seconds", "1")


@pytest.fixture
def cli(inline_cli):
    """With a model that is trained in no time."""
    (inline_cli.folder / "registry.yaml").write_text(REGISTRY)
    return inline_cli


@contextlib.contextmanager
def one_core(busy: int) -> Iterator[None]:
    """This thread and what it starts on one core, which `busy` other processes want too."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, cores)


def test_threads_that_share_a_core_get_a_part_of_it() -> None:
    with one_core(busy=1):
        assert share_of_cores(1) < 0.75
    with one_core(busy=0):
        assert share_of_cores(2) < 0.75  # more threads than cores


def test_a_thread_that_has_its_core_gets_all_of_it() -> None:
    """Whatever else this machine does: all of it waits for a thread of a real-time policy."""
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pytest.skip("only root may keep a core from all others")
    try:
        with one_core(busy=0):
            assert share_of_cores(1) >= ENOUGH
    finally:
        os.sched_setscheduler(0, policy, param)


def test_a_bench_that_starts_beside_other_work_says_so(cli, tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def beside_other_work(threads: int) -> float:  # which ends then, so that the bench takes no longer
        with one_core(busy=1):
            return share_of_cores(threads)

    monkeypatch.setattr("zoo.utils.cpu.share_of_cores", beside_other_work)
    lines = dataclasses.replace(cli, free=None).ok("bench", "mini_bn", *tiny).lines
    first, warning, next_line = lines[:3]
    assert first.startswith("shapes10: 5,000 training and 1,000 test images")
    assert re.match(r"warning: (1 thread gets|2 threads get) [1-7]\d % of a core", warning)
    assert "other work or a limit takes the rest, and speeds will be too low; stop the other work" in warning
    assert next_line.startswith("recipe ")


def test_it_is_measured_where_something_is_timed(cli, tiny) -> None:
    cli = dataclasses.replace(cli, free=0.5)
    bench = ("bench", "mini_bn", *tiny)
    warned = [any(" of a core" in line for line in cli.ok(*command).lines)
              for command in ((*bench, "--dry-run"), bench, bench, SPEED)]  # fmt: skip
    assert warned == [False, True, False, True]  # the second bench has nothing to do


@pytest.mark.parametrize(
    ("threads", "share", "advice"),
    [
        (1, 0.9, None),
        (1, 0.899, "work"),
        (2, 0.76, "work, or set OMP_NUM_THREADS=1"),
        (8, 0.25, "set OMP_NUM_THREADS=2"),
    ],
)
def test_what_it_says(monkeypatch: pytest.MonkeyPatch, threads: int, share: float, advice: str | None) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("zoo.utils.cpu.share_of_cores", lambda count: share if count == threads else 1)
    said: list[str] = []
    warn_of_load(said.append)
    assert [line.endswith(advice or "") for line in said] == [True] * (advice is not None)
