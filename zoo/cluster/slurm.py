"""The backend Slurm, by submitit: an array of jobs, one for each run."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cluster.options import RETRIES, Cluster, Resources
from zoo.cluster.request import Request, TaskEnd, work
from zoo.errors import MachineError, Message, Option, unknown

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

MINUTES = 240  # of a job, unless --slurm time=N says otherwise
SLICES = 100  # times that a job whose time is over goes back to the queue, to resume after its last epoch
# What zoo sets itself, and what to do instead.
OURS: dict[str, Message] = {
    "cpus_per_task": ("give ", Option("resources", "cpu=N")),
    "gpus_per_node": ("give ", Option("resources", "gpu=N")),
    **dict.fromkeys(("job_name", "nodes", "ntasks_per_node", "srun_args"), ("leave it out",)),
}


class Task:
    """What a job calls. Slurm's warning of a time limit or a preemption queues it again, as it is."""

    def __call__(self, request: Request) -> TaskEnd:
        """See :func:`zoo.cluster.request.work`. Where Slurm ends a job without that warning, SIGTERM comes first."""
        from zoo.engine.saving import write_unwritten

        signal.signal(signal.SIGTERM, lambda *_: write_unwritten())
        return work(request)

    def checkpoint(self, request: Request) -> DelayedSubmission:
        """The last finished epoch is saved, before Slurm ends what it has queued again."""
        from submitit.helpers import DelayedSubmission

        from zoo.engine.saving import write_unwritten

        write_unwritten()
        return DelayedSubmission(self, request)


@dataclass
class _Submitted:
    request: Request
    job: Job[TaskEnd]
    attempts: int = 1


class Slurm:
    """One job for each run; one that ends without a result, and that nobody cancelled, is submitted again."""

    def __init__(self, cluster: Cluster, resources: Resources, runs: Path) -> None:
        """Raises :class:`MachineError` where there is no Slurm, or an option is not one of its own."""
        import submitit

        self._jobs: dict[int, _Submitted] = {}  # number of the request -> its job
        self._whole = True
        self.where = "Slurm"
        self._folder = runs.absolute() / ".slurm" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        try:
            self._executor = submitit.AutoExecutor(self._folder, "slurm", slurm_max_num_timeout=SLICES)
        except RuntimeError as problem:  # submitit found no srun
            missing = ": there is no srun here; start the sweep on a machine that can submit jobs, or give "
            raise MachineError(Option("cluster", "slurm"), missing, Option("jobs", "auto"), " to run here") from problem
        common = {"cpus_per_task": resources.cpu, "gpus_per_node": int(resources.gpu)}
        self._executor.update_parameters(name="zoo", **common, **self._parameters(cluster.slurm, resources))

    def submit(self, requests: Sequence[Request]) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        task = Task()
        with self._executor.batch():
            jobs = [self._executor.submit(task, request) for request in requests]
        self._jobs = {request.number: _Submitted(request, job) for request, job in zip(requests, jobs, strict=True)}

    def wait(self, seconds: float) -> Iterable[tuple[int, TaskEnd | str]]:
        """See :class:`zoo.cluster.backend.Backend`."""
        until = time.monotonic() + seconds
        while not (done := [task for task in self._jobs.values() if task.job.done()]) and time.monotonic() < until:
            time.sleep(seconds / 10)
        for task in done:
            end = self._end(task)
            if end is not None:
                del self._jobs[task.request.number]
                self._whole = self._whole and isinstance(end, TaskEnd) and not (end.error or end.bug)
                yield task.request.number, end

    def slots(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""

    def cancel(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        for task in self._jobs.values():
            task.job.cancel(check=False)

    def close(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`. The jobs' logs are kept where a job failed."""
        if self._whole:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another sweep has its own beside it
                self._folder.parent.rmdir()

    def _end(self, task: _Submitted) -> TaskEnd | str | None:
        """How a job ended; None where it is queued again."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return task.job.result()
        except UncompletedJobError as problem:
            job, state = task.job, task.job.state
            # It fails where the node cannot even load the request, and would again.
            if isinstance(problem, FailedJobError) or "CANCELLED" in state or task.attempts > RETRIES:
                return f"job {job.job_id}: {state}: {str(problem).strip()} (its log: {job.paths.stderr})"
        task.job, task.attempts = self._executor.submit(Task(), task.request), task.attempts + 1
        return None

    def _parameters(self, requested: Mapping[str, Any], resources: Resources) -> dict[str, Any]:
        """As AutoExecutor wants them named."""
        minutes = requested.get("time", MINUTES)
        if type(minutes) is not int or minutes < 1:
            raise MachineError(Option("slurm", f"time={minutes}"), ": expected whole minutes, as in time=120")
        from submitit import SlurmExecutor

        names = sorted(SlurmExecutor._valid_parameters() - OURS.keys())
        for name in requested:
            if name in OURS:
                raise MachineError(Option("slurm", name), ": zoo sets that itself; ", *OURS[name])
            if name not in names:
                raise unknown("option", name, names, Option("slurm"), f"there are {', '.join(names)}")
        # A node that fails gives its jobs back; srun no longer takes the number of cores from the job by itself.
        ours = {"additional_parameters": {"requeue": True}, "srun_args": [f"-c{resources.cpu}"], "time": minutes}
        return {f"slurm_{name}": setting for name, setting in (ours | dict(requested)).items()}
