"""A sweep in a process of its own, watched line by line."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any


class Watched:
    """``zoo ARGUMENTS`` by `cli`; stderr is read as it comes. Leaving the block ends what is left of it."""

    def __init__(self, cli: Any, *arguments: str) -> None:
        self.folder, self.lines = cli.folder, []
        self.process = cli.start(*arguments)
        self._reader = threading.Thread(target=lambda: self.lines.extend(map(str.rstrip, self.process.stderr)))
        self._reader.start()

    def wait_for(self, pattern: str, seconds: float = 300, count: int = 1) -> list[str]:
        """Wait for `count` lines that match; those lines."""
        end = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None
            found = [line for line in list(self.lines) if re.search(pattern, line)]
            if len(found) >= count:
                return found
            assert not ended, f"ended before {count} x {pattern!r}:\n" + self.text
            assert time.monotonic() < end, f"{count} x {pattern!r} did not come in {seconds} s:\n" + self.text
            time.sleep(0.02)

    def wait_for_file(self, pattern: str, seconds: float = 300) -> Path:
        """Wait for a file in the folder of the command."""
        end = time.monotonic() + seconds
        while not (found := list(self.folder.glob(pattern))):
            assert self.process.poll() is None, f"ended before {pattern}:\n" + self.text
            assert time.monotonic() < end, f"{pattern} did not come in {seconds} s:\n" + self.text
            time.sleep(0.01)
        return found[0]

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self.lines)

    def workers(self) -> dict[int, int]:
        """The process of each run that was begun, by the run's number: the last that took it up."""
        marks = sorted(self.folder.glob("runs/.sweep-*/*"), key=lambda path: path.name.rsplit(".", 1)[-1])
        return {int(mark.name.split(".")[0]): int(mark.name.rsplit(".", 2)[1]) for mark in marks}

    def end(self, seconds: float) -> tuple[int, str]:
        """The exit code and stdout of what ends by itself."""
        stdout = self.process.stdout.read()
        code = self.process.wait(seconds)
        self._reader.join()
        return code, stdout

    def __enter__(self) -> Watched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # it takes its cluster along
            try:
                self.process.wait(60)
            except Exception:
                os.killpg(self.process.pid, signal.SIGKILL)
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


def children(pid: int) -> list[str]:
    """Command lines of the processes that `pid` started, and that these did."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(status[1]), []).append(int(folder.name))
    found, look = [], [pid]
    while look:
        for child in parents.get(look.pop(), []):
            look.append(child)
            try:
                found.append((Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found
