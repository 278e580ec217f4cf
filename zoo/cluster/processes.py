"""The backend of ``--jobs``: processes of this machine, each of which does one run after another.

They share nothing but the locks of the runs. Each has a channel to the sweep's own process; one that is closed, because
that process cancelled or ended in whatever way, ends a run after its last finished epoch.
"""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from zoo.cluster.options import RETRIES
from zoo.cluster.request import Request, TaskEnd, work

GRACE = 10.0  # seconds for a worker whose channel is closed to release its run


class Worker:
    """A process that calls what it is given, one call at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.channel, its_end = context.Pipe()
        self.request: Request | None = None  # what it is at
        self.process = context.Process(target=_serve, args=(its_end,))
        self.process.start()
        its_end.close()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Begin a call. Its result comes from the channel, or an EOFError where the process ended."""
        with contextlib.suppress(OSError):
            self.channel.send((function, arguments))

    def end(self, until: float) -> int | None:
        """The exit code of its process, which is killed where it runs at the time `until` of ``time.monotonic()``."""
        self.channel.close()
        self.process.join(max(0.0, until - time.monotonic()))
        self.process.kill()
        self.process.join()
        return self.process.exitcode


class Processes:
    """A number of workers. A run whose worker is lost is begun again by another, and resumes after its last epoch."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.where = "processes of this machine"
        self._queue = deque[Request]()
        self._begun = Counter[int]()  # how often each request was
        self._workers: list[Worker] = []

    def submit(self, requests: Sequence[Request]) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        self._queue.extend(requests)

    def wait(self, seconds: float) -> Iterable[tuple[int, TaskEnd | str]]:
        """See :class:`zoo.cluster.backend.Backend`."""
        while self._queue and (worker := self._free()):
            worker.request = self._queue.popleft()
            self._begun[worker.request.number] += 1
            worker.call(work, worker.request)
        at_work = [(worker, worker.request) for worker in self._workers if worker.request]
        ready = wait([worker.channel for worker, _ in at_work], seconds)
        for worker, request in [pair for pair in at_work if pair[0].channel in ready]:
            worker.request = None
            try:
                yield request.number, worker.channel.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                code = worker.end(time.monotonic() + GRACE)
                if self._begun[request.number] <= RETRIES:
                    self._queue.appendleft(request)
                else:
                    yield request.number, f"its process ended {self._begun[request.number]} times (exit code {code})"

    def slots(self) -> int:
        """See :class:`zoo.cluster.backend.Backend`."""
        return self._jobs

    def cancel(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        self.close()

    def close(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`. A run ends after its last finished epoch."""
        end_all(self._workers)

    def _free(self) -> Worker | None:
        for worker in self._workers:
            if worker.request is None:
                return worker
        if len(self._workers) == self._jobs:
            return None
        self._workers.append(Worker())
        return self._workers[-1]


def end_all(workers: list[Worker]) -> None:
    """Leave no process of `workers`, which is empty then."""
    for worker in workers:
        worker.channel.close()  # of all first, so that they end at the same time
    until = time.monotonic() + GRACE
    while workers:
        workers.pop().end(until)


def _serve(channel: Connection) -> None:
    """Make the calls that come by `channel`, until it is closed, which ends the call at hand too."""
    os.dup2(2, 1)  # stdout is for the table
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's, which then closes the channel
    signal.signal(signal.SIGTERM, _interrupted)
    calls = queue.SimpleQueue[Any]()
    threading.Thread(target=_listen, args=(channel, calls), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, Exception):  # whose end the channel tells
        while call := calls.get():
            function, arguments = call
            channel.send(function(*arguments))


def _listen(channel: Connection, calls: queue.SimpleQueue[Any]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            calls.put(channel.recv())
    _thread.interrupt_main(signal.SIGTERM)
    calls.put(None)  # wakes the main thread, which then notices


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
