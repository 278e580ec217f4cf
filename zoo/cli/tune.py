"""`zoo tune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from zoo.cli import options
from zoo.cli.job import prepare_alone
from zoo.cli.options import step_options
from zoo.errors import RecipeError
from zoo.utils.extras import require


@click.command()
@step_options
@click.option(
    "--over", default="optimizer.lr,optimizer.weight_decay", show_default=True, metavar="KEY,KEY",
    help="The recipe's numbers to be tuned.",
)  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), required=True, metavar="N", help="Trainings of each model.")
@click.option(
    "--range", "ranges", multiple=True, metavar="KEY=LOW:HIGH[:log]",
    help="Where to look.  [default: around the recipe's own lr and weight decay]",
)  # fmt: skip
@click.option(
    "--pruner", type=click.Choice(["median", "none"]), default="median", show_default=True,
    help="Stop a trial that is below the median of the finished ones at the same epoch, or none.",
)  # fmt: skip
@click.option(
    "--tuning-seed", type=click.IntRange(min=0), default=0, show_default=True,
    help="Of what is tried and of the trials' own training, which shares no seed with --seeds.",
)  # fmt: skip
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), default=options.RUNS, show_default=True)
@click.option("--restart", is_flag=True, help="Throw away the trials that are stored and start again.")
@options.table_format
def tune(
    recipe: str,
    overrides: tuple[str, ...],
    over: str,
    trials: int,
    ranges: tuple[str, ...],
    pruner: str,
    tuning_seed: int,
    runs: Path,
    restart: bool,
    style: str,
    **given: Any,
) -> None:
    """Find each MODEL's own best values of a recipe on its held-out images, every model under the same budget.

    The first trial has the recipe's own values, the test images are never read. What comes out is one recipe a model,
    to be benched with several seeds and shown by `zoo compare --tuned`. The same command goes on where it was stopped.
    """
    require("tuning needs", ["optuna"], "tune")

    from zoo.tuning.space import check_recipe, make_space, parse_range

    asked = dict(parse_range(text) for text in ranges)
    keys = list(dict.fromkeys(key.strip() for key in over.split(",") if key.strip()))
    if not keys:
        raise click.BadParameter("expected keys with commas between them, as in optimizer.lr", param_hint="--over")
    spaces = []

    def load() -> list[Any]:
        from zoo.recipes.load import load_recipe

        wanted = load_recipe(recipe, overrides)
        check_recipe(wanted)
        spaces.append(make_space(wanted, keys, asked))
        return [wanted]

    job, inputs = prepare_alone("zoo tune", load, **given)

    from zoo.runner.checks import check_data

    wanted = inputs.recipe
    for where, end in spaces[0].ends(wanted):
        try:
            check_data(inputs.with_recipe(end))
        except RecipeError as problem:
            raise RecipeError(*where, *problem.parts) from problem

    from zoo.render.progress import make_reporter
    from zoo.render.tuning import TrialLines, render
    from zoo.tuning.tune import Search
    from zoo.tuning.tune import tune as work

    search = Search(
        inputs=inputs,
        recipe_name=recipe,
        dataset_name=given["dataset"] or wanted.dataset,
        space=spaces[0],
        trials=trials,
        pruned=pruner == "median",
        seed=tuning_seed,
        runs=runs,
    )
    with make_reporter(quiet=False) as lines:
        lines.say(
            f"recipe {wanted.slug} ({wanted.precision}) on {job.data.name}: {len(job.models)} models x {trials} "
            f"trials of {wanted.epochs} epochs"
        )
        try:
            found = work(job.models, search, TrialLines(lines), restart)
        except KeyboardInterrupt:
            lines.say(f"zoo: interrupted; every finished trial and epoch is saved. To go on: {options.again('zoo')}")
            raise SystemExit(options.INTERRUPTED) from None
    click.echo(render(found, style, f"{job.data.name}, recipe {wanted.slug}, {wanted.precision}"), nl=False)
    places = [
        word
        for name in ("data_dir", "registry")
        if given[name]
        for word in (f"--{name.replace('_', '-')}", given[name])
    ]
    kept = [] if runs == options.RUNS else ["--runs", str(runs)]
    for tuning in found:
        if tuning.path is not None:
            bench = ["zoo", "bench", tuning.model, "--recipe", str(tuning.path), "--seeds", "3", *places, *kept]
            click.echo(f"next: {shlex.join(bench)}", err=True)
    click.echo(f"then: {shlex.join(['zoo', 'compare', '--tuned', *kept[1:]])}", err=True)
