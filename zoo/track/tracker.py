"""What a run is logged to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """A run as trackers know it. `path` is ``<dataset>/<recipe>-<fingerprint8>/<model>/seed<k>``."""

    id: str
    path: PurePath
    params: dict[str, str | int | float | bool]

    @property
    def group(self) -> str:
        """What is compared with each other: one dataset, one recipe."""
        return self.path.parents[1].as_posix()

    @property
    def name(self) -> str:
        """Model and seed."""
        return f"{self.path.parent.name} {self.path.name}"


class Tracker(Protocol):
    """What an adapter does. It has one run open at most; any exception switches it off, and the training goes on."""

    name: str
    where: str  # for people: a folder or an address

    def holds(self, entry: Entry) -> bool:
        """Whether the run was logged here to its end."""
        ...

    def begin(self, entry: Entry, fresh: bool) -> Collection[int]:
        """Open the run, the one of `entry.id` again where there is one; the epochs that it has.

        `fresh`: under an id that was never used; what is there of its folder is of an earlier run.
        """
        ...

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """The metrics of one epoch, safe on the disk or on their way when this returns."""

    def end(self, status: str, epoch: int, metrics: dict[str, float], files: dict[str, str]) -> None:
        """The run is ``finished`` or ``diverged`` after `epoch`; `files` maps names to text."""

    def close(self) -> None:
        """Nothing more will be logged; a run that is open was interrupted and may resume one day."""
