"""One run as plain data, and what a worker on another machine makes of it: the same :func:`zoo.runner.sweep.bench` as
here.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import MachineError, Message, Option, RunBusyError, ZooError, out_of_memory
from zoo.utils.version import __version__

if TYPE_CHECKING:
    from zoo.data.datasets import Dataset
    from zoo.recipes.recipe import Recipe
    from zoo.results.run import Run
    from zoo.runner.settings import Settings

VARIABLES = ("ZOO_DATA", "ZOO_CACHE", "ZOO_REGISTRY")  # they name folders, so they have to mean the same there
SHARED = 15.0  # seconds until a network file system shows what another machine has just written
# Seconds for the lock of a worker that was killed to be let go: its children may outlive it, and a file server takes
# a minute to forget a machine.
PATIENCE = 150.0


@dataclass(frozen=True)
class Request:
    """One run; what it means does not depend on the machine. Paths are absolute or relative to `folder`.

    `settings` are :class:`zoo.runner.settings.Settings` but the device, which is `device`; `identity` is
    :func:`zoo.runner.identity.identity_of` as the sweep's own machine has it. `marks`: the sweep's folder for what
    workers have begun, whose absence tells a worker that the runs folder is not shared.
    """

    number: int
    version: str
    folder: str
    environment: dict[str, str]
    marks: str
    registry: str | None
    model: str
    pretrained: str | None
    seed: int
    recipe: dict[str, Any]
    dataset: str
    data_dir: str | None
    path: str
    device: str
    settings: dict[str, Any]
    identity: dict[str, Any]
    threads: int


@dataclass(frozen=True)
class Outcome:
    """How a task ended. `error`: the message of a user's mistake; `bug`: the traceback of anything else.

    `seconds` are the whole task's, imports included; the run is stored where both are None.
    """

    number: int
    node: str
    seconds: float
    error: Message | None = None
    bug: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a sweep's models, data and settings come from, as the user gave them."""

    registry: str | None
    dataset: str
    data_dir: str | None
    threads: int


def make_request(
    number: int, run: Run, recipe: Recipe, dataset: Dataset, settings: Settings, source: Source, marks: Path
) -> Request:
    """The request for `run`; all that it holds is text, numbers, lists and mappings."""
    from zoo.registry.model import registry_name
    from zoo.runner.identity import identity_of

    plain = {
        item.name: getattr(settings, item.name)
        for item in fields(settings)
        if item.name not in ("device", "distributed")
    }
    return Request(
        number=number,
        version=__version__,
        folder=str(Path.cwd()),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        marks=str(marks.absolute()),
        registry=source.registry,
        model=registry_name(run.model.name),
        pretrained=str(run.model.pretrained.path.absolute()) if run.model.pretrained else None,
        seed=run.seed,
        recipe=recipe.model_dump(mode="json"),
        dataset=source.dataset,
        data_dir=source.data_dir,
        path=str(run.folder.path.absolute()),
        device=str(settings.device),
        settings=plain,
        identity=identity_of(run.model, recipe, dataset),
        threads=source.threads,
    )


def work(request: Request) -> Outcome:
    """Do one run to its end, in a worker; a run that was begun before goes on from its last epoch.

    Nothing is raised but what ends the process: an error travels as its message.
    """
    clock, node = time.perf_counter(), socket.gethostname()
    error: Message | None = None
    bug = None
    try:
        _run(request, node)
    except ZooError as problem:
        error = problem.parts
    except Exception as problem:
        full = out_of_memory(problem)
        error, bug = (full.parts, None) if full else (None, traceback.format_exc())
    return Outcome(request.number, node, time.perf_counter() - clock, error, bug)


def _run(request: Request, node: str) -> None:
    _arrive(request, node)

    import torch

    from zoo.builder.weights import find
    from zoo.data.datasets import load
    from zoo.engine.machine import choose_device
    from zoo.engine.memory import configure_allocator
    from zoo.engine.reporter import Reporter
    from zoo.recipes.recipe import Recipe
    from zoo.registry.merge import load_registry
    from zoo.registry.model import starting_from
    from zoo.results.folder import RunFolder
    from zoo.results.run import Run
    from zoo.runner.identity import identity_of
    from zoo.runner.settings import Settings
    from zoo.runner.sweep import bench

    torch.set_num_threads(request.threads)
    model = load_registry(request.registry).resolve(request.model)
    if request.pretrained:
        model = starting_from(model, find(Path(request.pretrained)))
    recipe, data = Recipe(**request.recipe), load(request.dataset, request.data_dir)
    identity = identity_of(model, recipe, data)
    for part, words in (("definition", f"another {request.model}"), ("dataset", f"another {request.dataset}")):
        if identity[part] != request.identity[part]:
            raise MachineError(f"{node} has {words} than the machine of the sweep; give both the same files")
    settings = Settings(device=choose_device(request.device), **request.settings)
    configure_allocator(settings.device)
    run = Run(model, request.seed, RunFolder(Path(request.path)))
    until = time.monotonic() + PATIENCE
    while True:
        try:
            bench([run], recipe, data, settings, Reporter())  # silent: the sweep reads history.csv instead
            return
        except RunBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _arrive(request: Request, node: str) -> None:
    """Make this process stand where the sweep's stands, and leave a mark that says so."""
    if request.version != __version__:
        raise MachineError(f"{node} has zoo {__version__}, the sweep's machine {request.version}; install the same")
    marks, until = Path(request.marks), time.monotonic() + SHARED
    while not marks.is_dir():
        if time.monotonic() > until:
            raise MachineError(
                f"{node} does not see {marks.parent}, where the runs are kept; give ",
                Option("runs"),
                " a folder on a file system that all machines of the cluster share",
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
