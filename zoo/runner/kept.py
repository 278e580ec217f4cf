"""What earlier runs of a command keep for later ones, where a clock chose it."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.engine.checkpoint import load_state
from zoo.results.folder import load_result
from zoo.results.run import Run


def auto_threads(runs: Iterable[Run]) -> int | None:
    """The number of threads that what was free chose for the first of `runs` that is stored or begun; None without one.

    Raises :class:`zoo.errors.ResultError` for what is damaged.
    """
    for run in runs:
        if run.folder.result.is_file():
            result = load_result(run.folder.result)
            settings, environment = result.settings, result.environment
        elif state := load_state(run.folder.state):
            settings, environment = state.identity.settings, state.identity.environment
        else:
            continue
        threads = environment.get("threads")
        if settings.auto_threads and isinstance(threads, int):
            return threads
    return None
