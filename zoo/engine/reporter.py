"""What is called while runs are trained: the hooks of the loop, of the run around it and of the bench around that."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.results.history import EpochRow
from zoo.results.run import Run
from zoo.results.schema import Result, SettingsPart


class Reporter:
    """Does nothing at every call; the base of whatever shows, logs, counts or stops a training."""

    def say(self, text: str) -> None:
        """A line for the user."""

    def run(self, run: Run, number: int, total: int) -> None:
        """A run starts, the `number`-th (from 1) of `total`."""

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """The layout and executor of a run are decided."""

    def moved(self, changed: Sequence[str]) -> None:
        """The run resumes with other hardware or software: `changed` has their names in ``environment``, or "source of
        zoo" for another commit or other uncommitted changes.
        """

    def resumed(self, epoch: int, epochs: int) -> None:
        """Training resumes after `epoch`."""

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        """A part of an epoch is done; `loss` and `accuracy` are over the epoch so far, `rate` in images per second."""

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """An epoch is evaluated; `saved` says that it is the best so far, `rose_from` what the best was before."""

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """A run is stored, or was stored before."""

    def began(self, run: Run, node: str, times: int) -> None:
        """A worker on `node` of a cluster took the run up, for the first time or, after it was lost, again."""

    def advanced(self, run: Run, row: EpochRow, epochs: int) -> None:
        """An epoch of a run on a cluster is saved."""


class Relay(Reporter):
    """Passes every call on to `shown`; the base of reporters that do something besides."""

    def __init__(self, shown: Reporter) -> None:
        self.shown = shown

    def say(self, text: str) -> None:
        """Passed on, as all below."""
        self.shown.say(text)

    def run(self, run: Run, number: int, total: int) -> None:
        """Passed on."""
        self.shown.run(run, number, total)

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """Passed on."""
        self.shown.resolved(run, settings)

    def moved(self, changed: Sequence[str]) -> None:
        """Passed on."""
        self.shown.moved(changed)

    def resumed(self, epoch: int, epochs: int) -> None:
        """Passed on."""
        self.shown.resumed(epoch, epochs)

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        """Passed on."""
        self.shown.window(epoch, epochs, step, steps, loss, accuracy, rate)

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """Passed on."""
        self.shown.epoch(row, epochs, rose_from, saved)

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """Passed on."""
        self.shown.finished(run, result, was_done)

    def began(self, run: Run, node: str, times: int) -> None:
        """Passed on."""
        self.shown.began(run, node, times)

    def advanced(self, run: Run, row: EpochRow, epochs: int) -> None:
        """Passed on."""
        self.shown.advanced(run, row, epochs)
