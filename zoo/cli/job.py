"""What every command that trains shares: its options, and the way from names to stored runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import execute, options
from zoo.cli.options import INTERRUPTED
from zoo.runner import checks
from zoo.runner import runs as runs_module

if TYPE_CHECKING:
    from zoo.cluster.options import Cluster
    from zoo.data.datasets import Dataset
    from zoo.recipes.recipe import Recipe
    from zoo.registry.model import Model
    from zoo.results.folder import Stored
    from zoo.runner.settings import Settings


class TrackerList(click.ParamType):
    """``tensorboard,mlflow``."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Raises :class:`zoo.errors.UnknownNameError`."""
        from zoo.track.trackers import parse

        return value if isinstance(value, tuple) else parse(value)


WHAT = (
    options.models,
    click.option(
        "--recipe", default="standard", show_default=True, metavar="NAME|FILE",
        shell_complete=options.complete_recipes, help="How all models are trained; `zoo list` shows the names.",
    ),
)  # fmt: skip
HOW = (  # for whatever runs a training step
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe: optimizer.lr=0.1 ..."
    ),
    click.option("--dataset", metavar="NAME|DIR", help="What to train on.  [default: the recipe's own]"),
    options.data_dir,
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option("--layout", type=click.Choice(["auto", "nchw", "channels_last"]), default="auto", show_default=True),
    click.option(
        "--executor", type=click.Choice(["auto", "batched", "albumentations"]), default="auto", show_default=True,
        help="Who augments: batched tensor operations on the device, or albumentations in worker processes.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Of the albumentations executor."
    ),
    click.option(
        "--compile", "compiled", is_flag=True, help="torch.compile the model; needs a C++ compiler on the CPU."
    ),
    click.option(
        "--deterministic", is_flag=True,
        help="The same bits each time on a GPU too: slower, and an error where an operation cannot.",
    ),
    options.registry,
)  # fmt: skip
KEPT = (  # for what keeps its runs
    click.option("--seeds", type=click.IntRange(min=1), help="Run seeds 0 to N-1.  [default: 1]"),
    click.option(
        "--seed", "only_seeds", type=click.IntRange(min=0), multiple=True, help="Run just this seed (repeatable)."
    ),
    click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=options.RUNS, show_default=True),
    click.option(
        "--pretrained", type=click.Path(path_type=Path), metavar="FILE|RUN",
        help="Start every model from these weights: a .safetensors file or the folder of a finished run.",
    ),
    click.option("--restart", is_flag=True, help="Throw away what these runs have stored and start again."),
    click.option(
        "--track", type=TrackerList(), default=(), metavar="NAME,...",
        help="Tell tensorboard, mlflow or wandb (offline) as well; one or several.",
    ),
)  # fmt: skip


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` all options of a training run."""
    return _with(command, WHAT + HOW + KEPT + execute.OPTIONS)


def study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` those of a training run whose models and recipe it knows itself."""
    return _with(command, HOW + KEPT + execute.OPTIONS)


def step_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options that say what is trained and how, but not those of runs that are kept."""
    return _with(command, WHAT + HOW)


def _with(command: Callable[..., None], chosen: Sequence[Callable[..., Any]]) -> Callable[..., None]:
    for option in reversed(chosen):
        command = option(command)
    return command


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
        return self.dry_run or not self.settings.world.first


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
    """The job and the recipes that `load` gives, their precision settled. The quickest checks come first."""
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
    from zoo.engine.machine import check_compiler, choose_device, settle_precision, settle_threads
    from zoo.engine.memory import settle_memory
    from zoo.runner.settings import Settings
    from zoo.utils.distributed import join

    elsewhere = where is not None and execute.is_elsewhere(device, recipes)
    world, target = join(torch.device(device) if elsewhere else choose_device(device))
    if where and world.size > 1:
        raise click.UsageError("--cluster spreads runs and torchrun splits one; use one of them")
    found_data = dataset or recipes[0].dataset
    data = world.in_turn(lambda: load_data(found_data, data_dir))
    settle_threads()
    settle_memory(target)
    if settings["compiled"]:
        check_compiler(target)
    precision = settle_precision(target) if not elsewhere else "auto"
    wanted = list(dict.fromkeys(only_seeds)) or list(range(seeds or 1))
    how = Settings(device=target, world=world, **settings)
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


def prepare_alone(command: str, load: Callable[[], Sequence[Recipe]], **given: Any) -> tuple[Job, Recipe]:
    """As :func:`prepare`, for a `command` of one recipe that works in one process and leaves no run.

    Every model is checked, and what was done to it as it was built is told on stderr.
    """
    job, (recipe,) = prepare(load, **given)

    from zoo.runner.checks import check_models

    job.settings.world.check_alone(f"`{command}`")
    _tell(check_models(job.models, recipe, job.data, job.settings), lambda line: click.echo(line, err=True))
    return job, recipe


def _tell(notes: Mapping[str, Sequence[str]], say: Callable[[str], None]) -> None:
    """What :func:`zoo.runner.checks.check_models` found, line by line."""
    for name, lines in notes.items():
        for line in lines:
            say(f"{name}: {line}")


def carry_out(
    job: Job, recipes: Sequence[Recipe], models: Sequence[Sequence[Model]] | None = None
) -> list[list[Stored]]:
    """The runs of `job` under each of `recipes`; all are checked before the first starts. Exits on Ctrl-C.

    `models`: those of each recipe, where it is not all of the job's. Gives nothing where the caller has nothing to
    show, see ``Job.shows_nothing``.
    """
    from zoo.engine.environment import zoo_commit
    from zoo.render.progress import Gathered, make_reporter
    from zoo.results.folder import Stored
    from zoo.runner import sweep as engine
    from zoo.track.reporter import Tracked
    from zoo.track.trackers import open_trackers

    plans = [
        runs_module.plan(of_it, job.seeds, recipe, job.data.name, job.runs)
        for recipe, of_it in zip(recipes, models or [job.models] * len(recipes), strict=True)
    ]
    if job.dry_run:
        if job.settings.world.first:
            execute.show_plan(job, recipes, plans)
        return []
    notes = [checks.check(plan, recipe, job.data, job.settings) for plan, recipe in zip(plans, recipes, strict=True)]
    stored, world = [], job.settings.world
    track = job.track if world.first else ()
    git = zoo_commit() if track else None  # for trackers; each run records its own
    told_by = Gathered(quiet=False) if job.cluster else make_reporter(quiet=not world.first)
    with told_by as reporter, open_trackers(track, job.runs, reporter.say) as trackers:
        _tell({name: lines for told in notes for name, lines in told.items()}, reporter.say)
        try:
            # All before the first run: an interruption must not leave old results standing.
            if job.restart and world.first:
                engine.clear([run for plan in plans for run in plan])
            for plan, recipe in zip(plans, recipes, strict=True):
                reporter.say(
                    f"recipe {recipe.slug} ({recipe.precision}) on {job.data.name}: "
                    f"{len(runs_module.models_of(plan))} models x {len(job.seeds)} seeds, {recipe.epochs} epochs, "
                    f"runs in {job.runs}"
                )
                if job.cluster:
                    continue  # the runs of all recipes are one sweep
                told = Tracked(reporter, reporter.say, trackers, recipe, job.data, git)
                results = engine.bench(plan, recipe, job.data, job.settings, told)
                if world.first:
                    stored.append([Stored(result, run.folder) for result, run in zip(results, plan, strict=True)])
            if job.cluster:
                stored = execute.carry_out_on_cluster(job, recipes, plans, reporter, trackers, git)
        except KeyboardInterrupt:
            again = options.again(*(["zoo"] if world.size == 1 else ["torchrun", "...", "-m", "zoo"]))
            reporter.say(f"zoo: interrupted; every finished epoch is saved. To go on: {again}")
            raise SystemExit(INTERRUPTED) from None
    return stored
