"""Slurm as the engine, by submitit: an array of jobs, one for each run; ``slurm:local`` has plain processes instead."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cluster.options import RETRIES, Cluster, Resources
from zoo.cluster.request import Outcome, Request, work
from zoo.errors import MachineError, unknown
from zoo.utils.cpu import usable_cores

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

MINUTES = 240  # of a job, unless --slurm time=N says otherwise
SLICES = 100  # times that a job whose time is over goes back to the queue, to go on from its last epoch
GRACE = 10.0  # seconds for cancelled jobs to let go of their folders
# What zoo sets itself, and what to do instead.
OURS = {"cpus_per_task": "give --resources cpu=N", "gpus_per_node": "give --resources gpu=N"}
OURS |= dict.fromkeys(("job_name", "nodes", "ntasks_per_node", "srun_args"), "leave it out")


class Task:
    """What a job calls. Slurm's warning of a time limit or a preemption queues it again, as it is."""

    def __call__(self, request: Request) -> Outcome:
        """See :func:`zoo.cluster.request.work`."""
        return work(request)

    def checkpoint(self, request: Request) -> DelayedSubmission:
        """Nothing to save: every finished epoch is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, request)


@dataclass
class _Submitted:
    request: Request
    job: Job[Outcome]
    times: int = 1


class Slurm:
    """One job for each run; one that ends without a result, and that nobody cancelled, is submitted again."""

    def __init__(self, cluster: Cluster, resources: Resources, runs: Path, count: int) -> None:
        """Raises :class:`MachineError` where there is no Slurm, an option is not one of its own, or, of the local
        processes, which all start at once, there are more than cores.
        """
        import submitit

        self._local = cluster.where == "local"
        self._count, self._jobs, self._whole = count, {}, True
        cores = usable_cores()
        if self._local and count * resources.cpu > max(cores, resources.cpu):
            raise MachineError(
                f"--cluster slurm:local starts its {count} runs all at once, each with {resources}, and there are "
                f"{cores} cores here; give --cluster ray, or fewer runs"
            )
        if self._local and resources.gpu:  # submitit gives each job the machine's first GPUs, whoever has them
            raise MachineError("--cluster slurm:local keeps no two runs from one GPU; give --cluster ray")
        self._folder = runs.absolute() / ".slurm" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        try:
            self._executor = submitit.AutoExecutor(
                self._folder, "local" if self._local else "slurm",
                slurm_max_num_timeout=SLICES, local_max_num_timeout=SLICES,
            )  # fmt: skip
        except RuntimeError as problem:  # submitit found no srun
            raise MachineError(
                "--cluster slurm: there is no srun here; start the sweep on a machine that can submit jobs, or give "
                "--cluster slurm:local to try it without"
            ) from problem
        common = {"cpus_per_task": resources.cpu, "gpus_per_node": int(resources.gpu)}
        self._executor.update_parameters(name="zoo", **common, **self._options(cluster.slurm, resources))
        self.where = "processes of this machine, as Slurm's jobs" if self._local else "Slurm"

    def submit(self, requests: Sequence[Request]) -> None:
        """See :class:`zoo.cluster.backend.Engine`."""
        task = Task()
        with self._executor.batch():
            jobs = [self._executor.submit(task, request) for request in requests]
        self._jobs = {request.number: _Submitted(request, job) for request, job in zip(requests, jobs, strict=True)}

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome | str]]:
        """See :class:`zoo.cluster.backend.Engine`."""
        until = time.monotonic() + seconds
        while not (done := [one for one in self._jobs.values() if one.job.done()]) and time.monotonic() < until:
            time.sleep(seconds / 10)
        for one in done:
            told = self._told(one)
            if told is not None:
                del self._jobs[one.request.number]
                self._whole = self._whole and isinstance(told, Outcome) and not (told.error or told.bug)
                yield one.request.number, told

    def slots(self) -> int | None:
        """See :class:`zoo.cluster.backend.Engine`."""
        return self._count if self._local else None

    def cancel(self) -> None:
        """See :class:`zoo.cluster.backend.Engine`."""
        for one in self._jobs.values():
            one.job.cancel(check=False)
        until = time.monotonic() + GRACE
        while self._local and not all(one.job.done() for one in self._jobs.values()) and time.monotonic() < until:
            time.sleep(0.1)

    def close(self) -> None:
        """See :class:`zoo.cluster.backend.Engine`. The jobs' logs stay where one of them has something to
        tell.
        """
        if self._whole:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another sweep has its own beside it
                self._folder.parent.rmdir()

    def _told(self, one: _Submitted) -> Outcome | str | None:
        """How a job ended; None where it is queued again."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return one.job.result()
        except UncompletedJobError as problem:
            state = one.job.state
            # It fails where the node cannot even load the request, and would again.
            if isinstance(problem, FailedJobError) or "CANCELLED" in state or one.times > RETRIES:
                return f"job {one.job.job_id}: {state}: {str(problem).strip()} (its log: {one.job.paths.stderr})"
        one.job, one.times = self._executor.submit(Task(), one.request), one.times + 1
        return None

    def _options(self, given: Mapping[str, Any], resources: Resources) -> dict[str, Any]:
        """As AutoExecutor wants them named."""
        minutes = {"time": MINUTES} | dict(given)
        if type(minutes["time"]) is not int or minutes["time"] < 1:
            raise MachineError(f"--slurm time={minutes['time']}: expected whole minutes, as in time=120")
        if self._local:
            if others := sorted(set(given) - {"time"}):
                raise MachineError(f"--slurm {others[0]}: slurm:local knows only time; take it out")
            return {"timeout_min": minutes["time"]}
        from submitit import SlurmExecutor

        known = sorted(SlurmExecutor._valid_parameters() - OURS.keys())
        for name in given:
            if name in OURS:
                raise MachineError(f"--slurm {name}: zoo sets that itself; {OURS[name]}")
            if name not in known:
                raise unknown("option", name, known, "--slurm", f"there are {', '.join(known)}")
        # A node that fails gives its jobs back; srun no longer takes the cores over from the job by itself.
        more = {"additional_parameters": {"requeue": True}, "srun_args": [f"--cpus-per-task={resources.cpu}"]}
        return {f"slurm_{name}": value for name, value in (more | minutes).items()}
