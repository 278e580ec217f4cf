"""What a command takes of a machine: threads, runs at a time, and a line where other work takes a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from zoo.utils.text import counted

if TYPE_CHECKING:
    from zoo.cli.job import Job
    from zoo.results.run import Run
    from zoo.runner.inputs import Inputs

    Say = Callable[[str], None]


def settle(job: Job, runs: Sequence[Run], say: Say) -> Job:
    """`job` with its number of threads, which torch is given, and of runs at a time, unless that is to be measured.

    What is stored of `runs` keeps a number that was chosen for them.
    """
    import torch

    from zoo.runner.kept import auto_threads
    from zoo.utils.cpu import free_cores, share_of_cores, usable_cores

    threads, jobs, automatic = torch.get_num_threads(), job.training.jobs, job.settings.auto_threads
    before = auto_threads(runs) if automatic else None
    if before:
        say(f"{counted(before, 'thread')} a run, as in the stored part of these runs")
        threads = before
    elif automatic and job.training.threads == "auto":
        runs_at_a_time = 1 if jobs == "auto" else jobs
        total = threads * runs_at_a_time
        free = free_cores(total, share_of_cores(total))
        say(f"--threads auto: {free} of {counted(total, 'thread')} {'is' if free == 1 else 'are'} free")
        threads = max(1, free // runs_at_a_time)
    elif job.training.threads == "auto":
        say(f"--threads auto: {counted(threads, 'thread')}, from OMP_NUM_THREADS or MKL_NUM_THREADS")
    torch.set_num_threads(threads)
    if jobs == "auto" and job.settings.device.type != "cpu":
        say("--jobs auto: one run at a time on a GPU; give --jobs N for more")
        jobs = 1
    elif jobs == "auto" and (before or not automatic):
        jobs = max(1, usable_cores() // threads)
    return _with_jobs(job, jobs)


def choose_jobs(job: Job, steps: Sequence[tuple[Inputs, Sequence[Run]]], say: Say) -> Job:
    """`job` with the number of runs at a time, and of threads, that is quickest for the first of the runs to do."""
    import torch

    from zoo.cluster.pace import ROOM, measure
    from zoo.cluster.request import make_request
    from zoo.utils.memory import usable_memory

    every = [(inputs, run) for inputs, runs in steps for run in runs]
    to_do = [pair for pair in every if job.training.restart or not pair[1].folder.result.is_file()]
    threads = torch.get_num_threads()
    jobs = min(len(to_do), threads, int(usable_memory() // ROOM))
    if jobs < 2:
        return _with_jobs(job, 1)
    inputs, run = to_do[0]
    say(f"--jobs auto: measuring {run.model.name}, one run with {counted(threads, 'thread')} and {jobs} at a time")
    each = threads // jobs
    paces = measure(make_request(0, run, inputs, job.sweep(each, "", 1)), jobs, threads)
    if paces is None:
        say("--jobs auto: the measurement failed, so the runs are done one at a time")
        return _with_jobs(job, 1)
    alone, side_by_side = paces
    gain = (len(to_do) / alone) / (-(-len(to_do) // jobs) / side_by_side)
    say(
        f"--jobs auto: {jobs if gain > 1 else 'one'} at a time, as {len(to_do)} runs, {jobs} at a time with "
        f"{counted(each, 'thread')} each, take {1 / gain:.2f} of the time of one by one"
    )
    if gain <= 1:
        return _with_jobs(job, 1)
    torch.set_num_threads(each)
    return _with_jobs(job, jobs)


def warn_of_load(say: Say, jobs: int = 1) -> None:
    """A line where other work takes a part of the cores that the threads of `jobs` runs are to have."""
    import torch

    from zoo.engine.machine import gain_of_fewer
    from zoo.utils.cpu import ENOUGH, free_cores, share_of_cores

    each = torch.get_num_threads()
    threads = each * jobs
    if (share := share_of_cores(threads)) >= ENOUGH:
        return
    advice, fewer = "stop the other work", free_cores(threads, share)
    if jobs > 1 and fewer // each < jobs:
        advice += f", or give --jobs {max(1, fewer // each)}"
    elif jobs == 1 and fewer < threads:
        advice += f", or give --threads {fewer} ({gain_of_fewer(fewer):.1f} times as fast here) or --threads auto"
    gets = f"{threads} threads get {100 * share:.0f} % of a core each"
    if threads == 1:
        gets = f"1 thread gets {100 * share:.0f} % of a core"
    say(f"warning: {gets}: other work or a limit takes the rest, so measured speeds will be too low; {advice}")


def _with_jobs(job: Job, jobs: int | Literal["auto"]) -> Job:
    import torch

    from zoo.cluster.options import here

    cluster = job.cluster if jobs == "auto" or jobs == 1 else here(jobs, torch.get_num_threads())
    return replace(job, training=replace(job.training, jobs=jobs), cluster=cluster)
