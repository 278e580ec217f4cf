"""What is called while runs are trained: the hooks of the loop, of the run around it and of the bench around that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zoo.errors import RegistryError
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

    def stepped(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """So many of an epoch's `steps` are under way: none as it begins. The device may be behind."""

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        """A part of an epoch is done; `loss` and `accuracy` are over the epoch so far, `rate` in images per second."""

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """An epoch is evaluated; `saved` says that it is the best so far, `rose_from` what the best was before."""

    def written(self, epoch: int) -> None:
        """The state after `epoch` is saved: whatever ends the run, it resumes from there or later."""

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """A run is stored, or was stored before."""

    def failed(self, run: Run, problem: RegistryError) -> None:
        """The code of a run's model failed; the other models go on."""

    def began(self, run: Run, node: str, times: int) -> None:
        """A worker on `node` of a cluster took the run up, for the first time or, after it was lost, again."""

    def advanced(self, run: Run, row: EpochRow, epochs: int) -> None:
        """An epoch of a run on a cluster is in its history."""


class Reporters(Reporter):
    """Passes every call on to each of `reporters` in turn."""

    def __init__(self, *reporters: Reporter) -> None:
        self.reporters = reporters


def _pass_on(hook: str) -> Callable[..., None]:
    def call(self: Reporters, *arguments: object) -> None:
        for reporter in self.reporters:
            getattr(reporter, hook)(*arguments)

    return call


for _hook in [name for name in vars(Reporter) if not name.startswith("_")]:
    setattr(Reporters, _hook, _pass_on(_hook))
