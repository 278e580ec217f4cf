"""What a sweep needs of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from zoo.cluster.options import Cluster, Resources
from zoo.cluster.request import Request, TaskEnd


class Backend(Protocol):
    """Where tasks run. The task of a lost worker is started again, up to :data:`zoo.cluster.options.RETRIES` times."""

    where: str  # as progress lines show it

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue all of them, in this order."""

    def wait(self, seconds: float) -> Iterable[tuple[int, TaskEnd | str]]:
        """The tasks that ended, within `seconds`: each request's number, and how it ended or why it was lost."""
        ...

    def slots(self) -> int | None:
        """How many runs fit at a time now; None where the backend does not report it."""

    def cancel(self) -> None:
        """Stop all tasks, running or queued. Every finished epoch is saved."""

    def close(self) -> None:
        """Release everything that was started."""


def open_backend(cluster: Cluster, resources: Resources, runs: Path) -> Backend:
    """The backend, started or joined. Raises :class:`zoo.errors.MachineError` where that fails."""
    if cluster.backend == "jobs":
        from zoo.cluster.processes import Processes

        return Processes(cluster.jobs)
    if cluster.backend == "ray":
        from zoo.cluster.ray import Ray

        return Ray(cluster.address, resources)
    from zoo.cluster.slurm import Slurm

    return Slurm(cluster, resources, runs)
