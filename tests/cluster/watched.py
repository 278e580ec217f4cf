"""A sweep in a process of its own, watched line by line."""

from __future__ import annotations

import contextlib
import ipaddress
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

    def next_worker(self, seconds: float = 60) -> int:
        """The process that takes up a run next, at the moment when it does."""
        end, before = time.monotonic() + seconds, self.workers()
        while not (new := self.workers().items() - before.items()):
            assert time.monotonic() < end, f"no run was begun in {seconds} s:\n" + self.text
            time.sleep(0.001)
        return next(iter(new))[1]

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


def descendants(pid: int) -> list[int]:
    """The processes that `pid` started, and that these did."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                children.setdefault(int(_status(int(folder.name))[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def listening(pids: list[int]) -> set[str]:
    """The addresses on which `pids` take connections from the network."""
    sockets = {}
    for family, size in (("tcp", 4), ("tcp6", 16)):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A":  # LISTEN, see proc(5)
                words = bytes.fromhex(local.partition(":")[0])
                address = b"".join(words[start : start + 4][::-1] for start in range(0, size, 4))
                given = ipaddress.ip_address(address)
                sockets[f"socket:[{inode}]"] = str(getattr(given, "ipv4_mapped", None) or given)
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(sockets.get(str(handle.readlink()), ""))
    return found - {""}


def wait_until_gone(pid: int, seconds: float = 20) -> None:
    """Until the process has ended; whoever started it may not have asked for its code."""
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while _status(pid)[0] != "Z":
            assert time.monotonic() < end, f"process {pid} is still there after {seconds} s"
            time.sleep(0.1)


def _status(pid: int) -> list[str]:
    """State, parent and the rest of proc(5)'s stat, behind the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
