"""From the options of a command that trains to its job: models, data, device and the inputs of all runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.errors import MachineError, ResultError
from zoo.utils.files import reachable

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from zoo.cli.training import Training
    from zoo.cluster.options import Cluster
    from zoo.cluster.request import Sweep
    from zoo.data.datasets import Dataset
    from zoo.recipes.recipe import Recipe
    from zoo.registry.model import Model
    from zoo.runner.inputs import Inputs
    from zoo.runner.settings import Settings
    from zoo.utils.distributed import Distributed

MEANT_FOR_A_GPU = 1_000_000  # images of training, all epochs together


@dataclass(frozen=True)
class Job:
    """Runs to do, as `training` asks: each of `models` with each of `inputs`, one for each recipe."""

    training: Training
    models: list[Model]
    data: Dataset  # and settings, of all runs
    settings: Settings
    inputs: list[Inputs]
    cluster: Cluster | None

    @property
    def dataset_name(self) -> str:
        """What the dataset is loaded by, on another machine too: a name or a folder."""
        return self.training.dataset or self.inputs[0].recipe.dataset

    def sweep(self, threads: int, marks: str, at_a_time: int) -> Sweep:
        """What all runs have in common for a worker, which works in another process."""
        from zoo.cluster.request import Sweep

        training = self.training
        return Sweep(
            training.registry, self.dataset_name, training.data_dir, self.data.choice, threads, marks, at_a_time
        )

    @property
    def seeds(self) -> list[int]:
        """The seeds of each model, each once."""
        return list(dict.fromkeys(self.training.only_seeds)) or list(range(self.training.seeds or 1))

    @property
    def shows_nothing(self) -> bool:
        """Whether no table follows: it is a dry run, or another process of torchrun prints it."""
        return self.training.dry_run or not self.settings.distributed.is_main


def prepare(training: Training, load_recipes: Callable[[], Sequence[Recipe]]) -> Job:
    """The job of the recipes that are loaded, their precision resolved. The quickest checks come first: reading a
    recipe takes longer than noticing a mistyped model.
    """
    if training.seeds and training.only_seeds:
        raise click.UsageError("--seeds and --seed cannot go together; give --seeds N or each --seed K")
    if not training.cluster and (training.resources or training.slurm):
        raise click.UsageError("--resources and --slurm are for a cluster; add --cluster slurm, or leave them out")
    if training.cluster and training.threads:
        raise click.UsageError("a cluster's runs have a thread for each core; give --resources cpu=N, not --threads")
    if training.cluster and training.jobs != 1:
        raise click.UsageError("--cluster spreads runs over machines and --jobs over this one; use one of them")

    from zoo.cluster.options import parse
    from zoo.track.trackers import check_installed

    check_installed(training.track)
    with reachable(training.runs, ResultError):
        training.runs.exists()
    cluster = parse(training.cluster, training.resources, training.slurm) if training.cluster else None
    models = _models(training)
    recipes = load_recipes()

    import torch

    from zoo.data.datasets import load
    from zoo.engine.machine import check_compiler, choose_device, configure_threads
    from zoo.engine.memory import configure_allocator
    from zoo.utils.distributed import join_process_group

    elsewhere = cluster is not None and _is_elsewhere(training.device, recipes)
    device = torch.device(training.device) if elsewhere else choose_device(training.device)
    distributed, device = join_process_group(device)
    if (cluster or training.jobs != 1) and distributed.world_size > 1:
        raise click.UsageError("--cluster and --jobs spread runs and torchrun splits one; use one of them")
    if training.compiled and not elsewhere:
        check_compiler(device)
    choice = replace(training.choice, image_size=recipes[0].image_size)
    dataset = distributed.main_first(lambda: load(training.dataset or recipes[0].dataset, training.data_dir, choice))
    threads = None if training.threads == "auto" else training.threads
    configure_threads(threads, 1 if training.jobs == "auto" else training.jobs)
    inputs = _inputs(training, recipes, dataset, device, distributed, elsewhere=elsewhere)
    if not elsewhere and distributed.world_size == 1:
        inputs = _agreeing(training, recipes, models, inputs)
    settings = inputs[0].settings
    configure_allocator(settings.device)
    for note in _device_notes(training, recipes, inputs) if distributed.is_main and not elsewhere else ():
        click.echo(note, err=True)
    return Job(training, models, dataset, settings, inputs, cluster)


def _inputs(
    training: Training, recipes: Sequence[Recipe], data: Dataset, device: torch.device, distributed: Distributed,
    elsewhere: bool = False,
) -> list[Inputs]:  # fmt: skip
    """The inputs of `recipes` on the `device`, which decides their precision unless it is `elsewhere`."""
    from zoo.engine.machine import is_nchw_only, resolve_precision
    from zoo.runner.inputs import Inputs
    from zoo.runner.settings import Settings
    from zoo.utils.cpu import threads_in_environment

    precision = resolve_precision(device) if not elsewhere else "auto"
    layout = training.layout if training.layout != "auto" else None  # `zoo speed` chooses that for each model
    if layout == "channels_last" and is_nchw_only(device):
        raise MachineError(f"--layout {layout}: torch's gradients are wrong in it on {device.type}; leave it out")
    layout = "nchw" if is_nchw_only(device) else layout
    chosen = training.threads == "auto" or (training.jobs == "auto" and device.type == "cpu")
    automatic = chosen and training.threads in ("auto", None)
    settings = Settings(
        device, layout, training.executor, training.workers, bool(training.compiled),
        training.deterministic, distributed, training.allow_batch_dependent,
        automatic and not threads_in_environment(),
        command=tuple(options.resuming(*options.launcher(distributed.world_size))),
    )  # fmt: skip
    return [Inputs(recipe.with_precision(precision), data, settings) for recipe in recipes]


def _agreeing(
    training: Training, recipes: Sequence[Recipe], models: Sequence[Model], inputs: list[Inputs]
) -> list[Inputs]:
    """`inputs`, or those of the accelerator that ``--device auto`` has on trial, where a step of each of `models` gives
    there what it gives on the CPU. Raises :class:`MachineError` where one that was asked for gives another step.
    """
    from zoo.engine.machine import NAMES, PROVEN, on_trial
    from zoo.runner.agreement import disagreement

    candidate, tried = on_trial(training.device), inputs
    if candidate is not None:
        unfit = "--compile" if training.compiled else "--layout channels_last"
        if training.compiled or training.layout == "channels_last":
            click.echo(f"the CPU is used, since {unfit} computes wrongly on {candidate.type}", err=True)
            return inputs
        tried = _inputs(training, recipes, inputs[0].dataset, candidate, inputs[0].settings.distributed)
    elif inputs[0].settings.device.type in PROVEN:
        return inputs
    for part in tried:
        for model in models:
            if words := disagreement(model, part):
                problem = f"{model.name}: on {part.settings.device.type} {words}"
                if candidate is None:
                    raise MachineError(f"--device {training.device}: {problem}; use --device cpu")
                name = NAMES[candidate.type]
                click.echo(f"the CPU is used, since the {name} computes otherwise: {problem}", err=True)
                return inputs
    return tried


def _device_notes(training: Training, recipes: Sequence[Recipe], inputs: Sequence[Inputs]) -> Iterator[str]:
    """What is to be said about the device before anything else."""
    import torch

    from zoo.engine.environment import device_name
    from zoo.utils.device import accelerator

    data, device = inputs[0].dataset, inputs[0].settings.device
    if inputs[0].recipe.precision == "fp16" and recipes[0].precision == "auto":
        yield f"{device_name(device)} has no bf16: `precision: auto` is fp16 with loss scaling here"
    built_for = torch.accelerator.current_accelerator()
    if training.device != "auto" or device.type != "cpu" or built_for is None or accelerator() is not None:
        return
    for recipe in recipes:
        most = data.count("train") - recipe.split.holdout
        images = recipe.epochs * min(recipe.split.train or most, most)
        if images >= MEANT_FOR_A_GPU:
            yield (
                f"this torch is built for {built_for.type.upper()} but finds no GPU, and recipe {recipe.name} is meant "
                f"for one: {images:,} images a run take hours on a CPU; choose an accelerator in the notebook's "
                "settings, repair the driver, or give --device cpu"
            )
            return


def prepare_alone(command: str, training: Training, load_recipe: Callable[[], Recipe]) -> Job:
    """The job of a `command` of one recipe that works in one process and leaves no run.

    Every model is checked, and what was done to it as it was built is reported on stderr.
    """
    job = prepare(training, lambda: [load_recipe()])

    from zoo.runner.checks import check_models
    from zoo.runner.unusual import first_line

    job.settings.distributed.check_single(f"`{command}`")
    notes = check_models(job.models, job.inputs[0])
    click.echo(first_line(job.inputs), err=True)
    echo_notes(notes, lambda line: click.echo(line, err=True))
    return job


def echo_notes(notes: Mapping[str, Sequence[str]], say: Callable[[str], None]) -> None:
    """The notes of :func:`zoo.runner.checks.check_models`, line by line."""
    for name, lines in notes.items():
        for line in lines:
            say(f"{name}: {line}")


def _models(training: Training) -> list[Model]:
    from zoo.registry.merge import load_registry

    models = load_registry(training.registry).match(training.models)
    if training.pretrained is None:
        return models

    from zoo.builder.weights import find
    from zoo.registry.model import starting_from

    weights = find(training.pretrained)
    return [starting_from(model, weights) for model in models]


def _is_elsewhere(device: str, recipes: Sequence[Recipe]) -> bool:
    """Whether `device` is a GPU that a cluster has and this machine has not.

    Raises :class:`MachineError` for a numbered GPU, and where a recipe's precision follows from a GPU not here.
    """
    import torch

    from zoo.utils.device import is_here

    kind = device.partition(":")[0]
    if kind not in ("cuda", "xpu"):
        return False
    if device != kind:
        raise MachineError(f"--device {device}: a cluster gives each run a GPU itself; use --device {kind}")
    if is_here(torch.device(kind)):
        return False
    if any(recipe.precision == "auto" for recipe in recipes):
        raise MachineError(
            f"--device {kind}: without a GPU here, `precision: auto` of the recipe cannot be resolved for the cluster; "
            "add --set precision=bf16 (or fp32, fp16)"
        )
    return True
