"""What every command that trains shares: its options, and the way from names to stored runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options
from zoo.errors import MachineError

if TYPE_CHECKING:
    from zoo.cluster.options import Cluster
    from zoo.data.datasets import Dataset
    from zoo.recipes.recipe import Recipe
    from zoo.registry.model import Model
    from zoo.runner.inputs import Inputs
    from zoo.runner.settings import Settings


@dataclass(frozen=True)
class Job:
    """Everything that is asked for but the recipes. Other machines find data and models by `dataset`, `data_dir`
    and `registry`.
    """

    models: list[Model]
    data: Dataset
    seeds: list[int]
    settings: Settings
    runs: Path
    restart: bool
    track: Sequence[str]
    dataset: str
    data_dir: str | None
    registry: str | None
    cluster: Cluster | None
    dry_run: bool

    @property
    def shows_nothing(self) -> bool:
        """Whether there is no table to be made of the runs: it is a dry run, or torchrun's first process makes it."""
        return self.dry_run or not self.settings.distributed.is_main


def prepare(
    load: Callable[[], Sequence[Recipe]],
    *,
    models: Sequence[str],
    dataset: str | None,
    data_dir: str | None,
    registry: str | None,
    device: str,
    seeds: int | None = None,
    only_seeds: Sequence[int] = (),
    runs: Path = options.RUNS,
    restart: bool = False,
    pretrained: Path | None = None,
    track: Sequence[str] = (),
    cluster: str | None = None,
    resources: str | None = None,
    slurm: Sequence[str] = (),
    dry_run: bool = False,
    **settings: Any,
) -> tuple[Job, list[Recipe]]:
    """The job and the recipes that `load` gives, their precision resolved. The quickest checks come first."""
    if seeds and only_seeds:
        raise click.UsageError("--seeds and --seed cannot go together; give --seeds N or each --seed K")

    if not cluster and (resources or slurm):
        raise click.UsageError("--resources and --slurm say what a cluster's runs get; add --cluster, or take them out")

    from zoo.cluster.options import parse
    from zoo.track.trackers import check_installed

    check_installed(track)
    where = parse(cluster, resources, slurm) if cluster else None

    from zoo.registry.merge import load_registry

    found = load_registry(registry).match(models)
    if pretrained is not None:
        from zoo.builder.weights import find
        from zoo.registry.model import starting_from

        weights = find(pretrained)
        found = [starting_from(model, weights) for model in found]
    recipes = load()

    import torch

    from zoo.data.datasets import load as load_data
    from zoo.engine.machine import check_compiler, choose_device, configure_threads, resolve_precision
    from zoo.engine.memory import configure_allocator
    from zoo.runner.settings import Settings
    from zoo.utils.distributed import join_process_group

    elsewhere = where is not None and is_elsewhere(device, recipes)
    distributed, target = join_process_group(torch.device(device) if elsewhere else choose_device(device))
    if where and distributed.world_size > 1:
        raise click.UsageError("--cluster spreads runs and torchrun splits one; use one of them")
    found_data = dataset or recipes[0].dataset
    data = distributed.main_first(lambda: load_data(found_data, data_dir))
    configure_threads()
    configure_allocator(target)
    if settings["compiled"]:
        check_compiler(target)
    precision = resolve_precision(target) if not elsewhere else "auto"
    wanted = list(dict.fromkeys(only_seeds)) or list(range(seeds or 1))
    how = Settings(device=target, distributed=distributed, **settings)
    job = Job(
        found, data, wanted, how, runs, restart, track, found_data, data_dir, registry, where, dry_run
    )  # fmt: skip
    return job, [recipe.with_precision(precision) for recipe in recipes]


def of_one(recipe: str, overrides: Sequence[str]) -> Callable[[], list[Recipe]]:
    """For :func:`prepare`: the one recipe that a command was given."""

    def load() -> list[Recipe]:
        from zoo.recipes.load import load_recipe

        return [load_recipe(recipe, overrides)]

    return load


def prepare_alone(command: str, load: Callable[[], Sequence[Recipe]], **given: Any) -> tuple[Job, Inputs]:
    """The job of a `command` of one recipe that works in one process and leaves no run, and the inputs of its runs.

    Every model is checked, and what was done to it as it was built is reported on stderr.
    """
    job, (recipe,) = prepare(load, **given)

    from zoo.runner.checks import check_models
    from zoo.runner.inputs import Inputs

    inputs = Inputs(recipe, job.data, job.settings)
    job.settings.distributed.check_single(f"`{command}`")
    echo_notes(check_models(job.models, inputs), lambda line: click.echo(line, err=True))
    return job, inputs


def echo_notes(notes: Mapping[str, Sequence[str]], say: Callable[[str], None]) -> None:
    """What :func:`zoo.runner.checks.check_models` found, line by line."""
    for name, lines in notes.items():
        for line in lines:
            say(f"{name}: {line}")


def is_elsewhere(device: str, recipes: Sequence[Recipe]) -> bool:
    """Whether `device` is a GPU that a cluster has and this machine has not.

    Raises :class:`MachineError` for a numbered GPU, and where a recipe's precision follows from a GPU not here.
    """
    import torch

    if not device.startswith("cuda"):
        return False
    if device != "cuda":
        raise MachineError(f"--device {device}: a cluster gives each run a GPU itself; use --device cuda")
    if torch.cuda.is_available():
        return False
    if any(recipe.precision == "auto" for recipe in recipes):
        raise MachineError(
            "--device cuda: no GPU here tells what the recipe's `precision: auto` is on the cluster's; "
            "add --set precision=bf16 (or fp32, fp16)"
        )
    return True
