"""Opens the backend that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cluster.options import Cluster, Resources

if TYPE_CHECKING:
    from zoo.cluster.backend import Engine


def open_engine(cluster: Cluster, resources: Resources, runs: Path, count: int) -> Engine:
    """The engine, started or joined, for `count` runs. Raises :class:`zoo.errors.MachineError` where that fails."""
    if cluster.engine == "ray":
        from zoo.cluster.ray import Ray

        return Ray(cluster.where, resources)
    from zoo.cluster.slurm import Slurm

    return Slurm(cluster, resources, runs, count)
