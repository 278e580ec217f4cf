"""The sweep's own machine: submits runs to a backend, shows their progress, and counts at the end how each ended."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.cluster.backend import Backend
from zoo.cluster.request import SHARED, Request, TaskEnd
from zoo.engine.reporter import Reporter
from zoo.errors import Message, Option, ResultError
from zoo.results.folder import load_result
from zoo.results.history import load_history
from zoo.results.run import Run
from zoo.results.schema import Result
from zoo.utils.text import counted, duration

POLL = 0.5  # seconds between looks at the backend and at the runs' folders


@dataclass
class Ticket:
    """A run of the sweep. `reporter` hears of its end; `epochs` is the recipe's."""

    run: Run
    epochs: int
    request: Request
    reporter: Reporter
    rows: int = 0  # of history.csv that were shown
    attempts: int = 0  # how often a worker started it
    seconds_before: float = 0.0  # of its epochs before this sweep


@dataclass
class Summary:
    """How a sweep ended. `overhead`: seconds of the slots that no run used, per run done; None where not measured.

    `failed` maps a run's folder to the message of its error; `lost` to why its backend gave up, or to a traceback.
    """

    runs: int
    done_before: int
    slots: int | None = None
    done: int = 0
    retries: int = 0
    seconds: float = 0.0
    overhead: float | None = None
    failed: dict[str, Message] = field(default_factory=dict)
    lost: dict[str, Message] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            f"{counted(self.runs, 'run')}: {self.done_before} done before, {self.done} done now in "
            f"{duration(self.seconds)}",
            f"{self.slots} at a time" if self.slots else "",
            f"retries: {self.retries}",
            f"failed: {len(self.failed)}" if self.failed else "",
            f"lost: {len(self.lost)}",
            f"overhead per run: {duration(self.overhead)}" if self.overhead is not None else "",
        ]
        return ", ".join(filter(None, parts))


@contextlib.contextmanager
def marks_in(runs: Path) -> Iterator[Path]:
    """A folder in `runs` for the marks of workers, gone at the end. Raises :class:`ResultError`."""
    folder = runs / f".sweep-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True)
    except OSError as problem:
        raise ResultError(
            f"{runs}: cannot be written to ({problem.strerror}); choose another with ", Option("runs", "FOLDER")
        ) from problem
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(
    tickets: Sequence[Ticket], done_before: int, open_backend: Callable[[], Backend], marks: Path, shown: Reporter
) -> Summary:
    """Carry out all `tickets`; `done_before` more runs need nothing. What ends one run with an error ends no other.

    Raises :class:`zoo.errors.MachineError` where there is no backend, and KeyboardInterrupt when all are cancelled.
    """
    summary = Summary(len(tickets) + done_before, done_before)
    if not tickets:
        return summary
    waiting = {ticket.request.number: ticket for ticket in tickets}
    used, capacity, slots_reported = 0.0, 0.0, True
    start = before = time.monotonic()
    backend = open_backend()
    try:
        summary.slots = backend.slots()
        where = f"{summary.slots} at a time" if summary.slots else "as many at a time as it allows"
        shown.say(f"{counted(len(tickets), 'run')} on {backend.where}, {where}")
        backend.submit([ticket.request for ticket in tickets])
        while waiting:
            ended = list(backend.wait(POLL))
            now, slots = time.monotonic(), backend.slots()
            slots_reported = slots_reported and slots is not None
            capacity += (now - before) * min(slots or 0, len(waiting))
            before = now
            _follow(waiting, marks, shown)
            for number, end in ended:
                ticket = waiting.pop(number)
                summary.retries += max(0, ticket.attempts - 1)
                used += _count(ticket, end, summary)
    except BaseException:
        backend.cancel()
        _follow(waiting, marks, shown)
        raise
    finally:
        backend.close()
    summary.seconds = time.monotonic() - start
    if slots_reported and summary.done:
        summary.overhead = max(0.0, capacity - used) / summary.done
    return summary


def _follow(waiting: dict[int, Ticket], marks: Path, shown: Reporter) -> None:
    """Show what workers began and which epochs they saved since the last look."""
    nodes: dict[int, list[str]] = {}  # the nodes that took a request up, in order of time
    for mark in sorted(marks.iterdir(), key=lambda path: path.name.rsplit(".", 1)[-1]):
        request, node = mark.name.split(".", 1)
        nodes.setdefault(int(request), []).append(node.rsplit(".", 2)[0])
    for number, ticket in waiting.items():
        taken = nodes.get(number, [])
        if len(taken) > ticket.attempts:
            ticket.attempts = len(taken)
            shown.began(ticket.run, taken[-1], ticket.attempts)
        if ticket.attempts:
            with contextlib.suppress(ResultError):  # there is no history yet
                rows = load_history(ticket.run.folder.history)
                for row in rows[ticket.rows :]:
                    shown.advanced(ticket.run, row, ticket.epochs)
                ticket.rows = max(ticket.rows, len(rows))


def _count(ticket: Ticket, end: TaskEnd | str, summary: Summary) -> float:
    """Count how a run ended; the seconds that it used in this sweep."""
    name = str(ticket.run.folder.path)
    if isinstance(end, str):
        summary.lost[name] = (end,)
        return 0.0
    if end.error:
        summary.failed[name] = end.error
    elif end.bug:
        summary.lost[name] = (end.bug,)
    else:
        try:
            result = _stored(ticket.run)
        except ResultError as problem:
            summary.lost[name] = problem.parts
        else:
            summary.done += 1
            ticket.reporter.run(ticket.run, summary.done_before + summary.done, summary.runs)
            ticket.reporter.resolved(ticket.run, result.settings)
            ticket.reporter.finished(ticket.run, result, False)
            return result.wall_seconds - ticket.seconds_before
    return end.seconds


def _stored(run: Run) -> Result:
    """The result that a worker has just written. Raises :class:`ResultError` where it never appears here."""
    until = time.monotonic() + SHARED
    while not run.folder.result.is_file() and time.monotonic() < until:
        time.sleep(POLL)
    return load_result(run.folder.result)
