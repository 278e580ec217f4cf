"""Processes that do some work whenever they are asked and say how long it took. A process has one memory allocator."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from zoo.engine.memory import ALLOCATOR_VARIABLES

TOLD, END = "seconds: ", "end\n"


class Asked:
    """``python ARGUMENTS`` in this folder, whose allocator is the system's; each call is one :func:`answer` of it."""

    def __init__(self, *arguments: str) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(ALLOCATOR_VARIABLES)}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], cwd=Path(__file__).parent, env=plain, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self) -> float:
        """Seconds. Raises ``RuntimeError`` where the process has ended; what it said of that is on stderr."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("again\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(TOLD):
                return float(line.removeprefix(TOLD))
        raise RuntimeError(f"{self.process.args} ended with exit code {self.process.wait()}")

    def close(self) -> None:
        """Ends it, if it has not ended."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(END)
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answer(work: Callable[[], float]) -> None:
    """What such a process ends with: `work` and its seconds, once for every line that it reads until the last."""
    for line in sys.stdin:
        if line == END:  # the input itself never ends while workers forked by the other side hold a copy of the pipe
            break
        print(f"{TOLD}{work()}", flush=True)
