"""A bench that is stopped again and again, whatever it is at, until it gets through: the same bytes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_files import check_same, find_run, snapshot

MODELS, SEEDS, EPOCHS, KILLS = ("resnet20_bn", "resnet20_ln"), 2, 3, 20
SETTINGS = ("split.train=320", "split.holdout=64", f"epochs={EPOCHS}", "schedule.peak_epoch=1", "ema.decay=0.9",
            "selection.rule=best")  # fmt: skip
COMMAND = ("bench", *MODELS, "--seeds", str(SEEDS), "--recipe", "smoke", "--layout", "nchw",
           *(word for setting in SETTINGS for word in ("--set", setting)))  # fmt: skip


class Watched:
    """A bench in `folder`, and how far it has come."""

    def __init__(self, cli, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] = dataclasses.replace(cli, folder=folder).start(*COMMAND)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(map(str.rstrip, self.process.stderr)))
        self._reader.start()

    def wait(self, seconds: float, reached: Callable[[], bool] = lambda: False) -> None:
        """Until it has come so far, has ended, or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None and not reached():
            time.sleep(0.001)

    def saving(self) -> bool:
        """Whether a file is being written right now."""
        with contextlib.suppress(FileNotFoundError):
            return any(self.folder.glob("runs/*/*/*/*/.*.tmp"))
        return True

    def evaluating(self) -> bool:
        """Whether an epoch was the last of its run."""
        return bool(self.lines) and self.lines[-1].strip().startswith(f"{EPOCHS}/")

    def phase(self) -> str:
        """What it is at."""
        if self.saving():
            return "saving"
        if self.evaluating():
            return "evaluating"
        training = bool(self.lines) and re.match(r" +(epoch|resumes|cpu|\d+/)", self.lines[-1])
        return "training" if training else "starting"

    def end(self, number: int = 0) -> int:
        """Send a signal, where one is given, and wait for the end; the exit code."""
        if number:
            self.process.send_signal(number)
        code = self.process.wait(120)
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.mark.slow
def test_killed_at_random_moments(zoo_cli, figure):
    """At least 20 SIGKILLs, SIGINTs and SIGTERMs among them, while it starts, trains, saves and evaluates."""
    began = time.monotonic()
    reference = zoo_cli.folder / "reference"
    reference.mkdir()
    zoo_cli.ok(*COMMAND, cwd=reference)
    length = time.monotonic() - began
    draw, killed, interrupted, rounds = random.Random(2026), collections.Counter(), 0, 0
    while killed.total() < KILLS:
        rounds += 1
        folder = zoo_cli.folder / f"round{rounds}"
        folder.mkdir()
        stored, code = {}, None
        while code != 0:
            bench = Watched(zoo_cli, folder)
            enough = killed.total() >= KILLS
            aim = draw.choice(["clock", "saving", "evaluating"])
            bench.wait(300 if enough else draw.uniform(0, length / 2))
            if aim == "saving":
                bench.wait(60, bench.saving)
            elif aim == "evaluating":
                bench.wait(60, bench.evaluating)
                bench.wait(draw.uniform(0, 2))
            phase, last = bench.phase(), len(list(folder.glob("runs/*/*/*/*/result.json"))) == len(MODELS) * SEEDS
            number = draw.choice([signal.SIGKILL] * 3 + [signal.SIGINT, signal.SIGTERM])
            if not bench.lines or last:  # Python's own start and end are not zoo's
                number = signal.SIGKILL
            code = bench.end(0 if bench.process.poll() is not None else number)
            text = "\n".join(bench.lines)
            assert "Traceback" not in text, text
            if code == -signal.SIGKILL:
                killed[phase] += 1
            elif code != 0:
                assert (code, bench.lines[-1][:17]) == (130, "zoo: interrupted;"), text
                interrupted += 1
            for path, files in stored.items():
                assert snapshot(path) == files, f"{path} was touched after it was finished"
            stored = {path.parent: snapshot(path.parent) for path in folder.glob("runs/*/*/*/*/result.json")}
        for model in MODELS:
            for seed in range(SEEDS):
                check_same(find_run(folder, model, seed), find_run(reference, model, seed))
    runs = rounds * len(MODELS) * SEEDS
    places = ", ".join(f"{name} {count}" for name, count in sorted(killed.items()))
    figure("kills survived", killed.total())
    figure("interruptions survived", interrupted)
    figure("runs identical", runs)
    figure("at random moments", f"{killed.total()} kills ({places}), {interrupted} interruptions, "
           f"{runs} of {runs} runs identical")  # fmt: skip
