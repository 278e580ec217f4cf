"""`zoo tune`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.cli.job import prepare_alone
from zoo.cli.training import Training, step_options
from zoo.errors import RecipeError
from zoo.utils.extras import require
from zoo.utils.text import counted

if TYPE_CHECKING:
    from zoo.runner.inputs import Inputs
    from zoo.tuning.outcome import Tuning
    from zoo.tuning.space import Space


@click.command()
@step_options
@click.option(
    "--over", default="optimizer.lr,optimizer.weight_decay", show_default=True, metavar="KEY,KEY",
    help="Hyperparameters to tune: numbers of the recipe.",
)  # fmt: skip
@click.option(
    "--trials", type=click.IntRange(1, 100_000), required=True, metavar="N", help="Number of trainings of each model."
)
@click.option(
    "--range", "ranges", multiple=True, metavar="KEY=LOW:HIGH[:log]",
    help="Search range of a key.  [default: around the recipe's lr and weight decay]",
)  # fmt: skip
@click.option(
    "--pruner", type=click.Choice(["median", "none"]), default="median", show_default=True,
    help="Stop a trial that is below the median of the finished trials at the same epoch.",
)  # fmt: skip
@click.option(
    "--tuning-seed", type=click.IntRange(0, options.LAST_SEED), default=0, show_default=True,
    help="Seed of the search and of the trials' trainings; unrelated to the seeds of `zoo bench`.",
)  # fmt: skip
@options.runs_folder
@click.option("--restart", is_flag=True, help="Delete the stored trials and start again.")
@options.table_format
def tune(
    training: Training,
    over: str,
    trials: int,
    ranges: tuple[str, ...],
    pruner: str,
    tuning_seed: int,
    style: str,
) -> None:
    """Find each MODEL's best hyperparameters on the validation set, under the same budget for all models.

    The first trial has the recipe's own values. The test images are never read. The result is one recipe for each
    model: bench it with several seeds, then run `zoo compare --tuned`. To resume after an interruption, rerun the same
    command.
    """
    if training.threads == "auto":
        raise click.UsageError("--threads auto: the result must not depend on the machine's load; give --threads N")
    require("tuning needs", ["optuna"])

    from zoo.tuning.space import check_recipe, make_space, parse_range

    chosen = dict(parse_range(text) for text in ranges)
    keys = options.names_in(over)
    if not keys:
        raise click.BadParameter("expected keys with commas between them, as in optimizer.lr", param_hint="--over")
    recipe = training.load_recipe()
    check_recipe(recipe)
    space = make_space(recipe, keys, chosen)
    job = prepare_alone("zoo tune", training, lambda: recipe)

    from zoo.render.progress import make_reporter
    from zoo.render.tuning import TrialLines, render
    from zoo.tuning.tune import Search
    from zoo.tuning.tune import tune as work

    (inputs,) = job.inputs
    _check_ends(space, inputs)
    recipe = inputs.recipe
    search = Search(
        inputs=inputs,
        recipe_name=training.recipe,
        dataset_name=job.dataset_name,
        space=space,
        trials=trials,
        pruned=pruner == "median",
        seed=tuning_seed,
        runs=training.runs,
    )
    with make_reporter(quiet=False) as lines:
        lines.say(
            f"recipe {recipe.slug} ({recipe.precision}) on {job.data.name}: {counted(len(job.models), 'model')} x "
            f"{counted(trials, 'trial')} of {counted(recipe.epochs, 'epoch')}"
        )
        with options.resumable(lines.say, "trial and epoch", "zoo"):
            outcomes = work(job.models, search, TrialLines(lines), training.restart)
    click.echo(render(outcomes, style, f"{job.data.name}, recipe {recipe.slug}, {recipe.precision}"), nl=False)
    for line in _next_commands(training, outcomes):
        click.echo(line, err=True)


def _check_ends(space: Space, inputs: Inputs) -> None:
    """Raise :class:`RecipeError` where the recipe cannot be at an end of the `space`, naming that end."""
    from zoo.runner.checks import check_data

    for where, end in space.ends(inputs.recipe):
        try:
            check_data(inputs.replaced(end))
        except RecipeError as problem:
            raise RecipeError(*where, *problem.parts) from problem


def _next_commands(training: Training, outcomes: Sequence[Tuning]) -> Iterator[str]:
    """The commands that bench the tuned recipes, and the one that compares the runs."""
    places = ["--data-dir", training.data_dir] if training.data_dir else []
    places += training.choice.arguments
    places += ["--registry", training.registry] if training.registry else []
    kept = [] if training.runs == options.RUNS else [str(training.runs)]
    for outcome in outcomes:
        if outcome.path is not None:
            bench = ["zoo", "bench", outcome.model, "--recipe", str(outcome.path), "--seeds", "3", *places]
            yield f"next: {shlex.join([*bench, *(['--runs', *kept] if kept else [])])}"
    yield f"then: {shlex.join(['zoo', 'compare', '--tuned', *kept])}"
