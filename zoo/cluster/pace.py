"""``--jobs auto``: how fast one run trains with all threads, and several side by side with a share of them each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from zoo.cluster.processes import Worker, end_all
from zoo.cluster.request import Request, prepare

SECONDS, STEPS, TURNS = 2.0, 3, 2  # of each turn at least, and turns of each
ROOM = 1.5e9  # bytes of memory for each process
_steps: dict[int, Callable[[], object]] = {}  # of a worker: the training step of each request's run


def measure(request: Request, jobs: int, threads: int) -> tuple[float, float] | None:
    """Steps per second of the run of `request` alone with `threads`, and of each of `jobs` with their share of them.

    They take turns, in processes of their own. None where one of these fails.
    """
    workers, each = [Worker() for _ in range(jobs)], threads // jobs
    try:
        _rates(workers, request, each, 0)  # builds and warms up
        turns = [
            (_rates(workers[:1], request, threads, SECONDS), _rates(workers, request, each, SECONDS))
            for _ in range(TURNS)
        ]
    except (EOFError, OSError):
        return None
    finally:
        end_all(workers)
    return statistics.mean(alone for alone, _ in turns), statistics.mean(together for _, together in turns)


def _rates(workers: Sequence[Worker], request: Request, threads: int, seconds: float) -> float:
    """The mean rate of `workers` that train at the same time. Raises EOFError where one fails."""
    for worker in workers:
        worker.call(rate, request, threads, seconds)
    rates: list[float] = [worker.channel.recv() for worker in workers]
    return statistics.mean(rates)


def rate(request: Request, threads: int, seconds: float) -> float:
    """Training steps per second of the run of `request`, in a worker, which an error ends."""
    import torch

    from zoo.runner.measure import bare_step, steps_per_second

    if request.number not in _steps:
        run, inputs = prepare(request)
        _steps[request.number] = bare_step(run.model, inputs)
    torch.set_num_threads(threads)
    return steps_per_second(_steps[request.number], torch.device("cpu"), seconds, STEPS)
