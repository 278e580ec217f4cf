"""What earlier runs of a command keep for later ones, where a clock chose it."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.engine.checkpoint import Identity, load_state
from zoo.results.folder import load_result
from zoo.results.run import Run
from zoo.results.schema import Result


def auto_threads(runs: Iterable[Run]) -> int | None:
    """The threads of the first of `runs` that is stored or begun with a measured number. Raises ResultError."""
    for run in runs:
        if run.folder.result.is_file():
            ran: Result | Identity = load_result(run.folder.result)
        elif state := load_state(run.folder.state):
            ran = state.identity
        else:
            continue
        threads = ran.environment.get("threads")
        if ran.settings.auto_threads and isinstance(threads, int):
            return threads
    return None
