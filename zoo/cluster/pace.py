"""``--jobs auto``: how fast one run trains with all threads, and several side by side with a share of them each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from zoo.cluster.processes import Worker, end_all
from zoo.cluster.request import Request, prepare

SECONDS, STEPS, TURNS = 2.0, 3, 2  # of each turn at least, and turns of each


def measure(request: Request, jobs: int, threads: int) -> tuple[float, float] | None:
    """Steps per second of the run of `request` alone with `threads`, and of each of `jobs` with their share of them.

    They take turns, in processes of their own. None where one of these fails.
    """
    workers = [Worker() for _ in range(jobs)]
    try:
        if _rates(workers, request, threads // jobs, 0) is None:  # builds and warms up
            return None
        pairs = [
            (_rates(workers[:1], request, threads, SECONDS), _rates(workers, request, threads // jobs, SECONDS))
            for _ in range(TURNS)
        ]
    finally:
        end_all(workers)
    turns = [(alone, together) for alone, together in pairs if alone and together]
    if len(turns) < TURNS:
        return None
    return statistics.mean(alone for alone, _ in turns), statistics.mean(together for _, together in turns)


def _rates(workers: Sequence[Worker], request: Request, threads: int, seconds: float) -> float | None:
    """The mean rate of `workers` that train at the same time; None where one fails."""
    for worker in workers:
        worker.call(rate, request, threads, seconds)
    try:
        rates = [worker.channel.recv() for worker in workers]
    except (EOFError, OSError):
        return None
    return None if None in rates else statistics.mean(rates)


def rate(request: Request, threads: int, seconds: float) -> float | None:
    """Training steps per second of the run of `request`, in a worker; None where it fails."""
    import torch

    try:
        step = _step(request)
        torch.set_num_threads(threads)
        start, done = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds or done < STEPS:
            step()
            done += 1
    except Exception:  # the run itself will report it
        return None
    return done / passed


_steps: dict[int, Callable[[], object]] = {}


def _step(request: Request) -> Callable[[], object]:
    """The training step of a run's model on one batch, made once."""
    from zoo.runner.measure import bare_step

    if request.number not in _steps:
        run, inputs = prepare(request)
        _steps[request.number] = bare_step(run.model, inputs)
    return _steps[request.number]


def most_at_a_time() -> int:
    """As many processes like this one as the memory has room for."""
    from zoo.utils.memory import resident_peak, usable_memory

    return max(1, usable_memory() // resident_peak())
