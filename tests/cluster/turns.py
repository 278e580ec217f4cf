"""What the workers of tests of ``--jobs`` do in place of a run; they import this module, and no torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from zoo.cluster.request import TaskEnd


class Turn:
    """In place of a request: its number, and a folder for what is to be seen of it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number, self.folder = number, folder

    def mark(self, name: str) -> int:
        """Leave a file; how many of that name there were before."""
        before = len(list(self.folder.glob(f"{self.number}.{name}.*")))
        (self.folder / f"{self.number}.{name}.{os.getpid()}.{before}").touch()
        return before


def done(turn: Turn) -> TaskEnd:
    turn.mark("done")
    print("what a model prints")
    return TaskEnd(turn.number, "here", 0.1)


def killed_once(turn: Turn) -> TaskEnd:
    if turn.mark("begun") == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done(turn)


def never_done(turn: Turn) -> TaskEnd:
    turn.mark("begun")
    os._exit(3)


def long(turn: Turn) -> TaskEnd:
    turn.mark("begun")
    try:
        while True:
            time.sleep(0.05)
    finally:
        turn.mark("left")  # as a run does that saves what it has


def begin(folder: str) -> None:
    """A sweep of one run that takes for ever, for a test that kills it."""
    from zoo.cluster import processes

    processes.work = long
    backend = processes.Processes(1)
    backend.submit([Turn(0, Path(folder))])
    while True:
        list(backend.wait(1))
