"""Speeds that are measured on a machine which the test itself loads."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zoo.engine import train
from zoo.engine.reporter import Reporter
from zoo.render.marks import DISTURBED_NOTE

BURNING = "import os\nparent = os.getppid()\nprint(flush=True)\nwhile os.getppid() == parent: pass"
OPTIONS = (
    "--recipe",
    "smoke",
    "--set",
    "split.train=256",
    "--set",
    "split.holdout=32",
    "--set",
    "batch_size=32",
    "--set",
    "epochs=2",
    "--set",
    "schedule.peak_epoch=1",
)


def loaded(training: Callable[..., object]) -> Callable[..., object]:
    """`training` on one core, beside three processes that take that core in every other of its windows."""

    @contextlib.contextmanager
    def burning() -> Iterator[list[subprocess.Popen[bytes]]]:
        cores = os.sched_getaffinity(0)
        with contextlib.ExitStack() as stack:
            stack.callback(os.sched_setaffinity, 0, cores)
            os.sched_setaffinity(0, {min(cores)})
            processes = []
            for _ in range(3):
                process = subprocess.Popen([sys.executable, "-S", "-c", BURNING], stdout=subprocess.PIPE)
                processes.append(stack.enter_context(process))
                stack.callback(process.kill)
                assert process.stdout is not None
                process.stdout.readline()  # it runs by now
            yield processes

    def beside(*arguments: Any, reporter: Reporter, **options: Any) -> object:
        turns = itertools.cycle((signal.SIGSTOP, signal.SIGCONT))
        window = reporter.window

        def turn(*figures: Any) -> None:
            window(*figures)
            now = next(turns)
            for process in processes:
                process.send_signal(now)

        reporter.window = turn
        with burning() as processes:
            return training(*arguments, reporter=reporter, **options)

    return beside


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be put on one core here")
def test_speeds(inline_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table beside other work does not print the speed as if nothing had been."""
    monkeypatch.setattr(train, "train", loaded(train.train))
    text = inline_cli.ok("bench", "resnet20_bn", *OPTIONS).stdout
    (row,) = (line for line in text.splitlines() if line.startswith("resnet20_bn "))
    assert "‡" in row
    assert DISTURBED_NOTE in " ".join(text.split())
    (stored,) = inline_cli.folder.glob("runs/*/*/*/*/result.json")
    speed = json.loads(stored.read_text())["speed"]
    assert len(speed["inference_quartiles"]) == len(speed["latency_quartiles"]) == 2
    (group,) = json.loads(inline_cli.ok("compare", "--format", "json").stdout)
    assert "train_images_per_second" in group["rows"][0]["disturbed"]
