"""What a sweep needs of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from zoo.cluster.request import Outcome, Request


class Engine(Protocol):
    """Where tasks run. It begins what a dead worker had again, up to :data:`zoo.cluster.options.RETRIES` times."""

    where: str  # for people

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue all of them, in this order."""

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome | str]]:
        """What has ended, at most `seconds` from now: the request's number, and its outcome or why there is none."""

    def slots(self) -> int | None:
        """How many runs fit at a time now; None where that is not known."""

    def cancel(self) -> None:
        """Stop what runs and what waits. Every finished epoch is saved."""

    def close(self) -> None:
        """Let go of everything that was started."""
