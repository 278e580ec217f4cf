"""A bench whose threads share the cores with other work says so at its start, and can take what is free."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.cli.share import warn_of_load
from zoo.results.folder import find_results, load_result
from zoo.utils.cpu import ENOUGH, free_cores, share_of_cores

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
    assert re.match(r"warning: (1 thread gets|2 threads get) \d+ % of a core", warning)
    assert "other work or a limit takes the rest, so measured speeds will be too low; stop the other work" in warning
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
        (2, 0.85, "work"),  # half a core is lost: one thread would lose more
        (2, 0.67, "work, or give --threads 1 (2.1 times as fast here) or --threads auto"),
        (8, 0.67, "work, or give --threads 4 (2.1 times as fast here) or --threads auto"),
    ],
)
def test_what_it_says(monkeypatch: pytest.MonkeyPatch, threads: int, share: float, advice: str | None) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("zoo.utils.cpu.share_of_cores", lambda count: share if count == threads else 1)
    monkeypatch.setattr("zoo.utils.cpu.usable_cores", lambda: threads)
    monkeypatch.setattr("zoo.engine.machine.gain_of_fewer", lambda fewer: 2.1)
    said: list[str] = []
    warn_of_load(said.append)
    assert [line.endswith(advice or "") for line in said] == [True] * (advice is not None)


@pytest.mark.parametrize(
    ("cores", "threads", "share", "free"),
    [
        (2, 2, 1, 2),
        (2, 2, 2 / 3, 1),  # one other process
        (2, 2, 1 / 4, 1),  # six
        (8, 8, 8 / 12, 4),  # four, not a third of eight threads
        (8, 2, 8 / 9, 1),  # seven others than these two
        (2, 4, 1 / 2, 2),  # none, and more threads than cores
    ],
)
def test_what_is_free(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, share: float, free: int) -> None:
    monkeypatch.setattr("zoo.utils.cpu.usable_cores", lambda: cores)
    assert free_cores(threads, share) == free


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a user of two cores has, whatever the tests run with."""
    before = torch.get_num_threads()
    monkeypatch.setattr("zoo.utils.cpu.usable_cores", lambda: 2)
    monkeypatch.setattr("zoo.engine.machine.usable_cores", lambda: 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def stored(folder: Path) -> dict[int, tuple[object, bool]]:
    """The threads of each seed, and whether what was free chose them."""
    results = map(load_result, find_results([folder / "runs"]))
    return {result.seed: (result.environment["threads"], result.settings.auto_threads) for result in results}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_threads_auto_is_recorded_noted_and_kept(cli, tiny, two_threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cli = dataclasses.replace(cli, environment=cli.environment | {"OMP_NUM_THREADS": ""})
    busy = dataclasses.replace(cli, free=2 / 3)
    bench = ("bench", "mini_bn", *tiny, "--threads", "auto")
    with monkeypatch.context() as patch:
        patch.setattr("zoo.runner.run_one.evaluate_on_splits", interrupt)
        first = busy(*bench)
    assert first.returncode == 130
    assert "--threads auto: 1 of 2 threads is free" in first.lines
    for seeds in ("1", "2"):  # nothing else is at work any more: first a state is there, then a result
        torch.set_num_threads(2)
        again = cli.ok(*bench, "--seeds", seeds)
        assert "1 thread a run, as in the stored part of these runs" in again.lines
    assert stored(cli.folder) == {0: (1, True), 1: (1, True)}
    note = "Threads: 1, chosen by measurement as the runs began. Another number changes last bits."
    assert note in " ".join(again.stdout.split())
    for command in (("compare", "--format", "markdown"), ("compare", "--format", "json")):
        assert note in cli.ok(*command).stdout


def test_threads_by_number_and_by_the_environment(cli, tiny, two_threads) -> None:
    """A number from the environment stays where what is free would choose another; one that is given counts."""
    busy = dataclasses.replace(cli, free=2 / 3, environment=cli.environment | {"OMP_NUM_THREADS": "2"})
    bench = ("bench", "mini_bn", *tiny)
    first = busy.ok(*bench, "--threads", "auto")
    assert "--threads auto: 2 threads, from OMP_NUM_THREADS or MKL_NUM_THREADS" in first.lines
    last = busy.ok(*bench, "--seed", "1", "--threads", "1")
    assert stored(cli.folder) == {0: (2, False), 1: (1, False)}
    assert "Threads: " not in last.stdout


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "100000", ""])
def test_what_is_no_number_of_threads(cli, number: str) -> None:
    last = cli("bench", "mini_bn", "--threads", number).lines[-1]
    assert f"Invalid value for '--threads': {number!r} is neither a number from 1 to 1024 nor auto" in last


README = ("bench", "resnet18_bn", "resnet18_ln", "--recipe", "smoke")


@pytest.mark.slow
def test_a_bench_beside_a_busy_process_on_one_of_two_cores(zoo_cli, figure) -> None:
    """README's bench says so, and `--threads auto` takes little more than on the other core alone.

    The machine has to be idle otherwise.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("there is one core")
    unset = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    environment = {name: text for name, text in zoo_cli.environment.items() if name not in unset}

    def on(*where: int) -> Any:
        prepare = functools.partial(os.sched_setaffinity, 0, where)
        return dataclasses.replace(zoo_cli, environment=environment, prepare=prepare)

    def seconds(cli: Any, *command: str) -> float:
        start = time.perf_counter()
        cli.ok(*command)
        return time.perf_counter() - start

    on(*cores).ok(*README, "--dry-run")  # makes the images
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(loop.pid, {cores[0]})
        first_words = on(*cores).start(*README, "--runs", "all")
        lines = list(itertools.takewhile(lambda line: not line.startswith("recipe "), first_words.stderr))
        os.killpg(first_words.pid, signal.SIGKILL)
        first_words.communicate()
        pinned = seconds(on(cores[1]), *README, "--runs", "pinned")
        auto = seconds(on(*cores), *README, "--runs", "auto", "--threads", "auto")
    finally:
        loop.kill()
        loop.wait()
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    figure("a bench beside a busy process", f"{warning.strip()}; {pinned:.1f} s pinned, {auto:.1f} s --threads auto")
    assert re.match(r"warning: 2 threads get \d+ % of a core each: .* or give --threads 1 \([1-9]", warning)
    assert auto <= 1.2 * pinned
