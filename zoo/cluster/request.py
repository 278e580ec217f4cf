"""One run as plain data. A worker on another machine calls the same :func:`zoo.runner.sweep.bench` with it."""

from __future__ import annotations

import os
import socket
import time
import traceback
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.choice import Choice
from zoo.errors import MachineError, Message, Option, RunBusyError, ZooError, out_of_memory
from zoo.utils.lock import STALE
from zoo.utils.version import __version__

if TYPE_CHECKING:
    from zoo.results.fields import Experiment
    from zoo.results.run import Run
    from zoo.runner.inputs import Inputs

VARIABLES = ("ZOO_DATA", "ZOO_CACHE", "ZOO_REGISTRY")  # they name folders, so they have to mean the same there
SHARED = 15.0  # seconds until a network file system shows what another machine has just written
# Seconds until the lock of a killed worker is free: its children may outlive it, a file server takes a minute to drop a
# machine, and a disk without locks takes longest.
PATIENCE = STALE + 60


@dataclass(frozen=True)
class Request:
    """One run; what it means does not depend on the machine. Paths are absolute or relative to `folder`.

    `settings` are those of :class:`zoo.runner.settings.Settings` without the device, which is `device`. `identity` is
    :func:`zoo.runner.identity.identity_of` on the sweep's own machine.
    """

    number: int
    version: str
    folder: str
    environment: dict[str, str]
    sweep: Sweep
    model: str
    pretrained: str | None
    seed: int
    recipe: dict[str, Any]
    path: str
    device: str
    settings: dict[str, Any]
    identity: Experiment


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended. `error`: the message of a user's mistake; `bug`: the traceback of anything else.

    `seconds` are the whole task's, imports included; the run is stored where both are None.
    """

    number: int
    node: str
    seconds: float
    error: Message | None = None
    bug: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What all runs of a sweep share. Workers find models and data by `registry`, `dataset`, `data_dir` and `choice`.

    Workers note what they started in the folder `marks`, an absolute path; one that lacks it does not share the runs.
    `at_a_time`: how many runs share the machine of the command.
    """

    registry: str | None
    dataset: str
    data_dir: str | None
    choice: Choice
    threads: int
    marks: str
    at_a_time: int = 1


def make_request(number: int, run: Run, inputs: Inputs, sweep: Sweep) -> Request:
    """The request for `run` of `sweep`; it holds text, numbers, lists and mappings only."""
    from zoo.registry.model import registry_name
    from zoo.runner.identity import identity_of

    settings = {field.name: getattr(inputs.settings, field.name) for field in fields(inputs.settings)}
    weights = run.model.pretrained.path if run.model.pretrained else None
    return Request(
        number=number,
        version=__version__,
        folder=str(Path.cwd()),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        sweep=sweep,
        model=registry_name(run.model.name),
        pretrained=str(weights.absolute()) if weights else None,
        seed=run.seed,
        recipe=inputs.recipe.model_dump(mode="json"),
        path=str(run.folder.path.absolute()),
        device=str(inputs.settings.device),
        settings={name: setting for name, setting in settings.items() if name not in ("device", "distributed")}
        | {"layout": inputs.layout(run.model), "at_a_time": sweep.at_a_time},
        identity=identity_of(run.model, inputs),
    )


def work(request: Request) -> TaskEnd:
    """Do one run to its end, in a worker; a run that was started before resumes after its last epoch.

    It raises only what ends the process: an error is returned as its message.
    """
    clock, node = time.perf_counter(), socket.gethostname()
    error: Message | None = None
    bug = None
    try:
        _run(request, node)
    except Exception as problem:
        mistake = problem if isinstance(problem, ZooError) else out_of_memory(problem)
        error, bug = (mistake.parts, None) if mistake else (None, traceback.format_exc())
    return TaskEnd(request.number, node, time.perf_counter() - clock, error, bug)


def prepare(request: Request) -> tuple[Run, Inputs]:
    """The run and its inputs, on the machine of a worker. Raises :class:`MachineError` where that has other files."""
    import torch

    from zoo.builder.weights import find
    from zoo.data.datasets import load
    from zoo.engine.machine import choose_device
    from zoo.engine.memory import configure_allocator
    from zoo.recipes.recipe import Recipe
    from zoo.registry.merge import load_registry
    from zoo.registry.model import starting_from
    from zoo.results.folder import RunFolder
    from zoo.results.run import Run
    from zoo.runner.identity import identity_of
    from zoo.runner.inputs import Inputs
    from zoo.runner.settings import Settings

    sweep = request.sweep
    torch.set_num_threads(sweep.threads)
    model = load_registry(sweep.registry).resolve(request.model)
    if request.pretrained:
        model = starting_from(model, find(Path(request.pretrained)))
    settings = Settings(device=choose_device(request.device), **request.settings)
    inputs = Inputs(Recipe(**request.recipe), load(sweep.dataset, sweep.data_dir, sweep.choice), settings)
    identity = identity_of(model, inputs)
    for part, words in (("definition", f"another {request.model}"), ("dataset", f"another {sweep.dataset}")):
        if identity.get(part) != request.identity.get(part):
            node = socket.gethostname()
            raise MachineError(f"{node} has {words} than the machine of the sweep; give both the same files")
    configure_allocator(settings.device)
    return Run(model, request.seed, RunFolder(Path(request.path))), inputs


def _run(request: Request, node: str) -> None:
    _arrive(request, node)

    from zoo.engine.reporter import Reporter
    from zoo.runner.sweep import bench

    run, inputs = prepare(request)
    until = time.monotonic() + PATIENCE
    while True:
        try:
            bench([run], inputs, Reporter())  # silent: the sweep reads history.csv instead
            return
        except RunBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _arrive(request: Request, node: str) -> None:
    """Give this process the folder and the environment of the sweep's, and leave a mark of the start."""
    if request.version != __version__:
        raise MachineError(f"{node} has zoo {__version__}, the sweep's machine {request.version}; install the same")
    marks, until = Path(request.sweep.marks), time.monotonic() + SHARED
    while not marks.is_dir():
        if time.monotonic() > until:
            raise MachineError(
                f"{node} does not see {marks.parent}, where the runs are kept; give ",
                Option("runs", "FOLDER"),
                " with a folder on a file system that all machines of the cluster share",
            )
        time.sleep(0.5)
    try:
        os.chdir(request.folder)
    except OSError as problem:
        raise MachineError(
            f"{node}: {request.folder}: {problem.strerror}; start the sweep in a folder that all machines share"
        ) from problem
    os.environ.update(request.environment)
    (marks / f"{request.number}.{node}.{os.getpid()}.{time.time_ns()}").touch()
