"""``--cluster``: a sweep's runs as tasks of Ray or jobs of Slurm. Their schedulers and queues, none of zoo's own.

What a run computes is :func:`zoo.runner.sweep.bench` here as there. The machines share the runs folder, and a run that
is begun again on another goes on from its ``state.pt``.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.errors import MachineError, unknown

if TYPE_CHECKING:
    pass

PACKAGES = {"ray": "ray", "slurm": "submitit"}  # engine, which is also zoo's extra -> package
NUMBER = re.compile(r"-?(0|[1-9]\d*)?(\.\d+)?")
RETRIES = 5  # times that a run is begun again after its worker or node was lost


@dataclass(frozen=True)
class Resources:
    """What each run is given: whole CPU cores, as many as torch has threads, and GPUs (Ray can share one)."""

    cpu: int = 1
    gpu: float = 0

    def __str__(self) -> str:
        return f"cpu={self.cpu}" + (f",gpu={self.gpu:g}" if self.gpu else "")


@dataclass(frozen=True)
class Cluster:
    """What ``--cluster``, ``--resources`` and ``--slurm`` ask for.

    `where`: Ray's address, None to start a cluster here; ``local`` for Slurm's stand-in of plain processes.
    `resources`: as given; :meth:`for_device` fills in the GPU.
    """

    engine: str
    where: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def for_device(self, kind: str) -> Resources:
        """The resources of one run on a device of this `kind`, "cpu" or "cuda". Raises :class:`MachineError`."""
        given = dict(self.resources)
        gpu = given.get("gpu", 1 if kind == "cuda" else 0)
        if kind == "cuda" and not gpu:
            raise MachineError("--resources gpu=0: the runs are to be on a GPU; give --device cpu, or gpu=1")
        if kind == "cpu" and gpu:
            raise MachineError(
                f"--resources gpu={gpu:g}: the runs are to be on a CPU, as no GPU is seen here; give --device cuda, or "
                "leave gpu out"
            )
        if self.engine == "slurm" and gpu != int(gpu):
            raise MachineError(f"--resources gpu={gpu:g}: Slurm gives whole GPUs; give gpu=1")
        return Resources(int(given.get("cpu", 1)), gpu)


def parse(cluster: str, resources: str | None, slurm: Sequence[str]) -> Cluster:
    """Read ``ray``, ``ray:ADDRESS``, ``slurm`` or ``slurm:local``, ``cpu=2,gpu=1`` and ``partition=gpu``, ``time=60``.

    Raises :class:`zoo.errors.UnknownNameError` for a name that is none of these and :class:`MachineError` for a
    value that cannot be, and where the engine's package is not installed.
    """
    engine, colon, where = cluster.partition(":")
    if engine not in PACKAGES:
        raise unknown("cluster", cluster, PACKAGES, "--cluster", "there are ray, ray:ADDRESS, slurm and slurm:local")
    if engine == "slurm" and where not in ("", "local"):
        raise unknown("cluster", cluster, ["slurm", "slurm:local"], "--cluster")
    if colon and not where:
        raise MachineError(f"--cluster {cluster}: the address is missing, as in ray:auto or ray:HOST:6379")
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        raise MachineError(f"--cluster {engine}: {PACKAGES[engine]} is not installed; pip install 'norm-zoo[{engine}]'")
    if slurm and engine != "slurm":
        raise MachineError("--slurm goes with --cluster slurm; take it out")
    return Cluster(engine, where or None, _resources(resources or ""), dict(_pair("--slurm", one) for one in slurm))


def _resources(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, value = _pair("--resources", part.strip())
        if name not in ("cpu", "gpu"):
            raise unknown("resource", name, ("cpu", "gpu"), "--resources", "there are cpu and gpu")
        whole = isinstance(value, int)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (name == "cpu" and not whole):
            raise MachineError(f"--resources {name}={value}: expected a number, as in cpu=2,gpu=1 (whole cores)")
        if name == "cpu" and value == 0:
            raise MachineError("--resources cpu=0: a run needs a core; give cpu=1 or more")
        found[name] = value
    return found


def _pair(option: str, text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise MachineError(f"{option} {text}: expected name=value")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError as problem:
        raise MachineError(f"{option} {text}: the value is not valid YAML; quote it if it is text") from problem
    # YAML 1.1 takes 2:00:00 for a number of seconds and 00123 for an octal one.
    plain = isinstance(read, bool | list | dict) or (isinstance(read, int | float) and NUMBER.fullmatch(value))
    return name, read if plain else value
