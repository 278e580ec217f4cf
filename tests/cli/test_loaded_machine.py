"""Speeds that are measured on a machine which the test itself loads."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from zoo.render.marks import DISTURBED_NOTE

# It takes the core for a quarter of a second, lets go for as long, and so on while its parent lives.
BURSTS = """import os, time
parent = os.getppid()
while os.getppid() == parent:
    end = time.perf_counter() + 0.25
    while time.perf_counter() < end:
        pass
    time.sleep(0.25)
"""
OPTIONS = ("--recipe", "smoke", "--set", "split.train=512", "--set", "epochs=2", "--set", "schedule.peak_epoch=1")


@pytest.fixture
def loaded() -> Iterator[None]:
    """This process and what it starts on one core, beside three others that work in bursts there."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processes cannot be put on one core here")
    cores = os.sched_getaffinity(0)
    with contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, {min(cores)})
        for _ in range(3):
            burning = stack.enter_context(subprocess.Popen([sys.executable, "-c", BURSTS]))
            stack.callback(burning.kill)
        yield


def test_speeds(inline_cli, loaded: None) -> None:
    """A table beside other work does not print the speed as if nothing had been."""
    text = inline_cli.ok("bench", "resnet20_bn", *OPTIONS).stdout
    (row,) = (line for line in text.splitlines() if line.startswith("resnet20_bn "))
    assert "‡" in row
    assert DISTURBED_NOTE in text
    (stored,) = inline_cli.folder.glob("runs/*/*/*/*/result.json")
    speed = json.loads(stored.read_text())["speed"]
    assert len(speed["inference_quartiles"]) == len(speed["latency_quartiles"]) == 2
    (group,) = json.loads(inline_cli.ok("compare", "--format", "json").stdout)
    assert "train_images_per_second" in group["rows"][0]["disturbed"]
