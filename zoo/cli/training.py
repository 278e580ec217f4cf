"""What every command that trains shares: its options, and the way from names to stored runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options
from zoo.cli.options import INTERRUPTED

if TYPE_CHECKING:
    from zoo.data.datasets import Dataset
    from zoo.recipe import Recipe
    from zoo.registry import Model
    from zoo.results import Stored
    from zoo.settings import Settings

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
    click.option("--restart", is_flag=True, help="Throw away what these runs have stored and start again."),
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` all options of a training run."""
    return _with(command, WHAT + HOW + KEPT)


def study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` those of a training run whose models and recipe it knows itself."""
    return _with(command, HOW + KEPT)


def step_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options that say what is trained and how, but not those of runs that are kept."""
    return _with(command, WHAT + HOW)


def _with(command: Callable[..., None], chosen: Sequence[Callable[..., Any]]) -> Callable[..., None]:
    for option in reversed(chosen):
        command = option(command)
    return command


@dataclass(frozen=True)
class Job:
    """Everything that is asked for but the recipes."""

    models: list[Model]
    data: Dataset
    seeds: list[int]
    settings: Settings
    runs: Path
    restart: bool


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
    **settings: Any,
) -> tuple[Job, list[Recipe]]:
    """The job and the recipes that `load` gives, their precision settled. The quickest checks come first."""
    if seeds and only_seeds:
        raise click.UsageError("--seeds and --seed cannot go together; give --seeds N or each --seed K")

    from zoo.registry import load_registry

    found = load_registry(registry).match(models)
    recipes = load()

    from zoo.data.datasets import load as load_data

    data = load_data(dataset or recipes[0].dataset, data_dir)

    from zoo.engine.machine import check_compiler, choose_device, settle_precision, settle_threads
    from zoo.settings import Settings

    target = choose_device(device)
    settle_threads()
    if settings["compiled"]:
        check_compiler(target)
    precision = settle_precision(target)
    wanted = list(dict.fromkeys(only_seeds)) or list(range(seeds or 1))
    job = Job(found, data, wanted, Settings(device=target, **settings), runs, restart)
    return job, [recipe.with_precision(precision) for recipe in recipes]


def carry_out(job: Job, recipes: Sequence[Recipe]) -> list[list[Stored]]:
    """The runs of `job` under each of `recipes`; all are checked before the first starts. Exits on Ctrl-C."""
    from zoo import bench as engine
    from zoo.cli.progress import make_reporter
    from zoo.results import Stored

    plans = [engine.plan(job.models, job.seeds, recipe, job.data.name, job.runs) for recipe in recipes]
    for plan, recipe in zip(plans, recipes, strict=True):
        engine.check(plan, recipe, job.data, job.settings)
    stored = []
    with make_reporter() as reporter:
        for plan, recipe in zip(plans, recipes, strict=True):
            reporter.say(
                f"recipe {recipe.slug} ({recipe.precision}) on {job.data.name}: {len(job.models)} models "
                f"x {len(job.seeds)} seeds, {recipe.epochs} epochs, runs in {job.runs}"
            )
            try:
                results = engine.bench(plan, recipe, job.data, job.settings, reporter, job.restart)
            except KeyboardInterrupt:
                again = shlex.join(["zoo", *(argument for argument in sys.argv[1:] if argument != "--restart")])
                reporter.say(f"zoo: interrupted; every finished epoch is saved. To go on: {again}")
                raise SystemExit(INTERRUPTED) from None
            stored.append([Stored(result, run.folder) for result, run in zip(results, plan, strict=True)])
    return stored
