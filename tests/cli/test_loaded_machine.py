"""Speeds that are measured on a machine which the test itself loads."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from zoo.engine import train
from zoo.render.marks import DISTURBED_NOTE

# All at once they take the core for 0.45 s and let go for 0.15 s, so that of the bench's windows about half are slow.
BURSTS = """import os, time
parent = os.getppid()
while os.getppid() == parent:
    while time.time() % 0.6 < 0.45:
        pass
    time.sleep(0.01)
"""
OPTIONS = (
    "--recipe",
    "smoke",
    "--set",
    "split.train=256",
    "--set",
    "split.holdout=32",
    "--set",
    "epochs=2",
    "--set",
    "schedule.peak_epoch=1",
)


@contextlib.contextmanager
def loaded() -> Iterator[None]:
    """This process on one core, beside three others that work in bursts there."""
    cores = os.sched_getaffinity(0)
    with contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, {min(cores)})
        for _ in range(3):
            burning = stack.enter_context(subprocess.Popen([sys.executable, "-S", "-c", BURSTS]))
            stack.callback(burning.kill)
        yield


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be put on one core here")
def test_speeds(inline_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table beside other work does not print the speed as if nothing had been."""
    monkeypatch.setattr(train, "train", loaded()(train.train))
    text = inline_cli.ok("bench", "resnet20_bn", *OPTIONS).stdout
    (row,) = (line for line in text.splitlines() if line.startswith("resnet20_bn "))
    assert "‡" in row
    assert DISTURBED_NOTE in text
    (stored,) = inline_cli.folder.glob("runs/*/*/*/*/result.json")
    speed = json.loads(stored.read_text())["speed"]
    assert len(speed["inference_quartiles"]) == len(speed["latency_quartiles"]) == 2
    (group,) = json.loads(inline_cli.ok("compare", "--format", "json").stdout)
    assert "train_images_per_second" in group["rows"][0]["disturbed"]
