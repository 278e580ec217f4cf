"""A sweep's runs as tasks of Ray or jobs of Slurm, which schedule and queue (``--cluster``), or as processes here.

A worker calls :func:`zoo.runner.sweep.bench`, as a bench on one machine does. The machines share the runs folder, so a
run that is started again on another machine resumes from its ``state.pt``.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import MachineError, Option, unknown
from zoo.utils import yamlfile
from zoo.utils.cpu import usable_cores
from zoo.utils.extras import install

PACKAGES = {"ray": "ray", "slurm": "submitit"}  # backend, which is also zoo's extra -> package
NUMBER = re.compile(r"-?((0|[1-9]\d*)(\.\d+)?|\.\d+)")
# YAML 1.1 takes 2:00:00 for a number of seconds and 00123 for an octal one, so only this is read as YAML.
NO_TEXT = re.compile(r"[\[{'\"]|(true|false|yes|no|on|off)\Z", re.IGNORECASE)
RETRIES = 5  # times that a run is started again after its worker or node was lost


@dataclass(frozen=True)
class Resources:
    """What each run is given: whole CPU cores, as many as torch has threads, and GPUs (Ray can share one)."""

    cpu: int = 1
    gpu: float = 0

    def __str__(self) -> str:
        return f"cpu={self.cpu}" + (f",gpu={self.gpu:g}" if self.gpu else "")


@dataclass(frozen=True)
class Cluster:
    """What ``--cluster``, ``--resources`` and ``--slurm`` ask for, or ``--jobs``, which is the backend ``jobs``.

    `address`: Ray's address, None to start a cluster here.
    `resources`: as requested; :meth:`for_device` fills in the GPU. `jobs`: the processes of that backend.
    """

    backend: str
    address: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    slurm: Mapping[str, Any] = field(default_factory=dict)
    jobs: int = 0

    def at_a_time(self, resources: Resources) -> int | None:
        """How many runs share this machine; None where other machines have them."""
        if self.backend == "ray" and self.address is None:
            return max(1, usable_cores() // resources.cpu)
        return self.jobs or None

    def for_device(self, kind: str) -> Resources:
        """The resources of one run on a device of this `kind`, such as "cuda". Raises :class:`MachineError`."""
        if self.backend == "jobs":  # which share a GPU as they share the cores
            return Resources(int(self.resources["cpu"]))
        counted = kind not in ("cpu", "mps")  # no cluster counts Apple's
        gpu = self.resources.get("gpu", 1 if counted else 0)
        option = Option("resources", f"gpu={gpu:g}")
        if counted and not gpu:
            raise MachineError(option, ": the runs are for a GPU; give ", Option("device", "cpu"), ", or gpu=1")
        if kind == "cpu" and gpu:
            advice = ("; give ", Option("device", "cuda"), ", or leave gpu out")
            raise MachineError(option, ": the runs are for a CPU, as there is no GPU here", *advice)
        if self.backend == "slurm" and gpu != int(gpu):
            raise MachineError(option, ": Slurm gives whole GPUs; give gpu=1")
        return Resources(int(self.resources.get("cpu", 1)), gpu)


def here(jobs: int, threads: int) -> Cluster:
    """``--jobs``: so many processes of this machine."""
    return Cluster("jobs", resources={"cpu": threads}, jobs=jobs)


def parse(cluster: str, resources: str | None, slurm: Sequence[str]) -> Cluster:
    """Read ``ray``, ``ray:ADDRESS`` or ``slurm``, ``cpu=2,gpu=1`` and ``partition=gpu``, ``time=60``.

    Raises :class:`zoo.errors.UnknownNameError` for a name that is none of these and :class:`MachineError` for a
    value that cannot be, and where the backend's package is not installed.
    """
    backend, colon, address = cluster.partition(":")
    if backend not in PACKAGES or (backend == "slurm" and colon):
        raise unknown("cluster", cluster, PACKAGES, Option("cluster"), "there are ray, ray:ADDRESS and slurm")
    if colon and not address:
        raise MachineError(Option("cluster", cluster), ": the address is missing, as in ray:auto or ray:HOST:6379")
    if importlib.util.find_spec(PACKAGES[backend]) is None:
        missing = f": {PACKAGES[backend]} is not installed; {install([PACKAGES[backend]])}"
        raise MachineError(Option("cluster", backend), missing)
    if slurm and backend != "slurm":
        raise MachineError(Option("slurm"), " goes with ", Option("cluster", "slurm"), "; leave it out")
    parameters = dict(_pair("slurm", parameter) for parameter in slurm)
    return Cluster(backend, address or None, _resources(resources or ""), parameters)


def _resources(text: str) -> dict[str, float]:
    resources: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, amount = _pair("resources", part.strip())
        option = Option("resources", f"{name}={amount}")
        if name not in ("cpu", "gpu"):
            raise unknown("resource", name, ("cpu", "gpu"), Option("resources"), "there are cpu and gpu")
        # A bool is an int too, but no amount.
        if (type(amount) is not int and (name == "cpu" or type(amount) is not float)) or amount < 0:
            raise MachineError(option, ": expected a number, as in cpu=2,gpu=1 (whole cores)")
        if name == "cpu" and amount == 0:
            raise MachineError(option, ": a run needs a core; give cpu=1 or more")
        resources[name] = amount
    return resources


def _pair(option: str, text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise MachineError(Option(option, text), ": expected name=value")
    if not NUMBER.fullmatch(value) and not NO_TEXT.match(value):
        return name, value
    return name, yamlfile.read_text(value, MachineError, Option(option, text))
