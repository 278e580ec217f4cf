"""`zoo lr-find`."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from zoo.cli import options
from zoo.cli.job import prepare_alone
from zoo.cli.share import settle
from zoo.cli.training import Training, step_options


@click.command("lr-find")
@step_options
@click.option(
    "--low", type=options.Real(0, min_open=True), default=1e-4, show_default=True, help="First learning rate."
)
@click.option(
    "--high", type=options.Real(0, min_open=True), default=10.0, show_default=True, help="Last learning rate."
)
@click.option(
    "--steps",
    type=click.IntRange(10, 100_000),
    default=200,
    show_default=True,
    help="Steps from the first to the last.",
)
@click.option("--seed", type=click.IntRange(0, options.LAST_SEED), default=0, show_default=True)
@options.table_format
@options.picture("lr-find.png")
def lr_find(training: Training, low: float, high: float, steps: int, seed: int, style: str, out: Path) -> None:
    """Run a learning rate range test for every MODEL.

    The learning rate rises step by step. The table shows where the training loss falls fastest and where it diverges.
    The test takes about a minute and uses training images only; no run is kept. `zoo tune` compares learning rates over
    whole trainings.
    """
    if not low < high:
        raise click.BadParameter(f"{low:g} is not below --high {high:g}", param_hint="--low")

    from zoo.render.figures import check_figure

    check_figure(out)

    job = prepare_alone("zoo lr-find", training, training.load_recipe)
    settle(job, (), functools.partial(click.echo, err=True))

    from zoo.render.lr_find import draw, render
    from zoo.tuning.lr_find import lr_find as find

    (inputs,), curves = job.inputs, []
    for number, model in enumerate(job.models, 1):
        options.show_progress(f"[{number}/{len(job.models)}] {model.name}")
        curves.append(find(model, inputs, low=low, high=high, steps=steps, seed=seed))
    recipe = inputs.recipe
    title = f"{job.data.name}, recipe {recipe.slug}, {recipe.precision}, {steps} steps from {low:g} to {high:g}"
    click.echo(render(curves, style, title, options.worded), nl=False)
    draw(curves, title, out)
    click.echo(f"wrote {out}", err=True)
