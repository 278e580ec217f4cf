"""Opens the backend that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cluster.options import Cluster, Resources

if TYPE_CHECKING:
    from zoo.cluster.backend import Backend


def open_backend(cluster: Cluster, resources: Resources, runs: Path, count: int) -> Backend:
    """The backend, started or joined, for `count` runs. Raises :class:`zoo.errors.MachineError` where that fails."""
    if cluster.backend == "ray":
        from zoo.cluster.ray import Ray

        return Ray(cluster.address, resources)
    from zoo.cluster.slurm import Slurm

    return Slurm(cluster, resources, runs, count)
