"""How long the run at work and the whole bench still take, at the pace so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from zoo.utils.text import duration


class TimeLeft:
    """`work` is what there is to do for each run, by its folder, in seconds or in what is proportional to them."""

    def __init__(self, work: Mapping[Path, float]) -> None:
        self.work, self.done = dict(work), dict[Path, float]()
        self.started: float | None = None  # of all runs
        self._from: dict[Path, float] = {}  # the share of a run that was done before
        self._began = self._gained = self._share = 0.0  # of the run at work

    def start(self) -> None:
        """A first run begins."""
        if self.started is None:
            self.started = time.monotonic()

    def begin(self, folder: Path, share: float = 0.0) -> None:
        """A run is at work, of which a `share` was done before."""
        self.start()
        self._from[folder], self._began, self._gained = share, time.monotonic(), 0.0

    def reach(self, folder: Path, share: float, before: float = 0.0) -> None:
        """So much of a run is done; `before`: as much was, where :meth:`begin` was not called."""
        self.start()
        self._from.setdefault(folder, before)
        if (first := self._from[folder]) < 1:
            self._share, self._gained = share, share - first
            self.done[folder] = self.work.get(folder, 0.0) * self._gained / (1 - first)
            if not self._gained:  # the first step is still to come
                self._began = time.monotonic()

    def end(self, folder: Path, was_done: bool) -> None:
        """A run is stored; where it `was_done` before, it took no time."""
        if was_done:
            self.work.pop(folder, None)
        else:
            self.done[folder] = self.work.get(folder, 0.0)

    def drop(self, model: Path) -> None:
        """The runs in the folder of a `model` are not done."""
        self.work = {folder: work for folder, work in self.work.items() if folder.parent != model}
        self.done = {folder: done for folder, done in self.done.items() if folder.parent != model}

    @property
    def of_run(self) -> float | None:
        """Seconds of the run at work; None before its first step is done."""
        return (time.monotonic() - self._began) * (1 - self._share) / self._gained if self._gained > 0 else None

    @property
    def of_all(self) -> float | None:
        """Seconds of all runs; None where there is one, or nothing of them is done."""
        done = sum(self.done.values())
        if len(self.work) < 2 or done <= 0 or self.started is None:
            return None
        return (time.monotonic() - self.started) * max(0.0, sum(self.work.values()) - done) / done

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Names and texts of both."""
        of_run = ("run left" if len(self.work) > 1 else "time left", self.of_run)
        pairs = [of_run, ("all left", self.of_all)] if len(self.work) > 1 else [of_run]
        return [(name, duration(seconds) if seconds else "-") for name, seconds in pairs]

    @property
    def words(self) -> list[str]:
        """Both, of which what is not known is left out."""
        return [f"{name} {text}" for name, text in self.columns if text != "-"]

    @property
    def words_of_all(self) -> list[str]:
        """That of all runs alone."""
        return [] if (seconds := self.of_all) is None else [f"all left {duration(seconds)}"]
