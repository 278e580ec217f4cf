"""`zoo study`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.cli.execute import carry_out
from zoo.cli.job import prepare
from zoo.cli.training import Training, study_options, training_options

if TYPE_CHECKING:
    from zoo.recipes.recipe import Recipe

HELP = "Vary one part of a recipe, for all models alike."


def _batch_sizes(ctx: click.Context, param: click.Parameter, text: str) -> tuple[int, ...]:
    """``2,8,32``: whole numbers, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(
            f"{text!r} is no list of batch sizes; expected whole numbers above 0, as in 2,8,32,128"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


@click.command("batch-size")
@training_options
@click.option(
    "--values",
    callback=_batch_sizes,
    required=True,
    metavar="B,B,...",
    help="Training batch sizes, for example 2,8,32,128.",
)
@click.option(
    "--lr-rule", type=click.Choice(["linear", "sqrt", "none"]), default="linear", show_default=True,
    help="How the learning rate scales with the batch size.",
)  # fmt: skip
@options.table_format
@options.picture("batch-size.png")
def batch_size(training: Training, values: tuple[int, ...], lr_rule: str, style: str, out: Path) -> None:
    """Train every MODEL at each batch size, and show test error against batch size as a table and a plot.

    Each batch size is its own recipe: only batch_size and optimizer.lr differ. Runs are stored as by `zoo bench`. To
    resume after an interruption, rerun the same command.
    """
    from zoo.render.figures import check_figure

    check_figure(out)

    def load() -> list[Recipe]:
        from zoo.studies.batch_size import batch_size_recipes

        return list(batch_size_recipes(training.recipe, training.overrides, values, lr_rule).values())

    job = prepare(training, load)

    from zoo.render.batch_size import render
    from zoo.render.plots.batch_size import draw
    from zoo.studies.batch_size import batch_sizes

    stored = carry_out(job)
    if job.shows_nothing:
        return
    recipes = {inputs.recipe.batch_size: inputs.recipe for inputs in job.inputs}
    study = batch_sizes(training.load_recipe(), lr_rule, recipes, dict(zip(values, stored, strict=True)))
    click.echo(render(study, style), nl=False)
    draw(study.about, study.groups, 2, out)
    click.echo(f"wrote {out}", err=True)


@click.command("eva6s8")
@study_options
@click.option(
    "--architecture", default="resnet18", show_default=True, help="Architecture, trained with `in` and then with `ln`."
)
@click.option(
    "--epochs", type=click.IntRange(2, 1_000_000), default=40, show_default=True,
    help="Epochs of every step; the warm-up keeps its share.",
)  # fmt: skip
@options.table_format
@options.picture("eva6s8.png")
def eva6s8(training: Training, architecture: str, epochs: int, style: str, out: Path) -> None:
    """Change the reference experiment into the standard recipe step by step, and train at each step.

    Runs are stored as by `zoo bench`. To resume after an interruption, rerun the same command. --set changes every
    step.
    """
    from zoo.render.figures import check_figure

    check_figure(out)

    from zoo.studies.eva6s8 import ablation, reference_recipes

    norms = ["in", "ln"]
    training = dataclasses.replace(training, models=tuple(f"{architecture}_{norm}" for norm in norms))
    steps = reference_recipes(training.overrides, epochs)
    job = prepare(training, lambda: [recipe for _, recipe in steps])

    from zoo.render.eva6s8 import draw, render

    of_norm = dict(zip(norms, job.models, strict=True))
    stored = carry_out(job, [[of_norm[step.norm]] for step, _ in steps])
    if job.shows_nothing:
        return
    rows = ablation([step for step, _ in steps], stored)
    title = f"eva6s8 to standard: {job.data.name}, {architecture}, {epochs} epochs"
    if training.overrides:
        title += f", {' '.join(training.overrides)}"
    click.echo(render(rows, style, title), nl=False)
    draw(rows, out, title)
    click.echo(f"wrote {out}", err=True)


commands = {"batch-size": batch_size, "eva6s8": eva6s8}
