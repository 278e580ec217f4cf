"""`zoo study`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.cli import options
from zoo.cli.execute import carry_out
from zoo.cli.job import prepare
from zoo.cli.options import study_options, training_options

HELP = "Vary one thing of a recipe, for every model alike."


class BatchSizeList(click.ParamType):
    """``2,8,32``: whole numbers, each once."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Fails with one line for anything else."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no list of batch sizes; expected whole numbers above 0, as in 2,8,32,128")
        return tuple(dict.fromkeys(int(part) for part in parts))


@click.command("batch-size")
@training_options
@click.option(
    "--values", type=BatchSizeList(), required=True, metavar="B,B,...", help="Training batch sizes, as in 2,8,32,128."
)
@click.option(
    "--lr-rule", type=click.Choice(["linear", "sqrt", "none"]), default="linear", show_default=True,
    help="How the recipe's learning rate follows the batch size.",
)  # fmt: skip
@options.table_format
@options.picture("batch-size.png")
def batch_size(
    recipe: str,
    overrides: tuple[str, ...],
    values: tuple[int, ...],
    lr_rule: str,
    style: str,
    out: Path,
    **given: Any,
) -> None:
    """Train every MODEL at each batch size, and show test error against batch size, as a table and a picture.

    Each batch size is a recipe of its own: batch_size and optimizer.lr are set, all else is the recipe's. Runs are kept
    as by `zoo bench`, and the same command goes on where it was stopped.
    """
    from zoo.render.figures import check_figure

    check_figure(out)

    from zoo.recipes.load import load_recipe
    from zoo.studies.batch_size import batch_size_recipes, batch_sizes

    def load() -> list[Any]:
        return list(batch_size_recipes(recipe, overrides, values, lr_rule).values())

    job, recipes = prepare(load, **given)

    from zoo.render.batch_size import render
    from zoo.render.plots.batch_size import draw

    stored = carry_out(job, recipes)
    if job.shows_nothing:
        return
    study = batch_sizes(
        load_recipe(recipe, overrides),
        lr_rule,
        dict(zip(values, recipes, strict=True)),
        dict(zip(values, stored, strict=True)),
    )
    click.echo(render(study, style), nl=False)
    draw(study.about, study.groups, 2, out)
    click.echo(f"wrote {out}", err=True)


@click.command("eva6s8")
@study_options
@click.option(
    "--architecture", default="resnet18", show_default=True, help="Trained with `in` and then with `ln`; `zoo list`."
)
@click.option(
    "--epochs",
    type=click.IntRange(min=2),
    default=40,
    show_default=True,
    help="Of every step; the warm-up keeps its share.",
)
@options.table_format
@options.picture("eva6s8.png")
def eva6s8(overrides: tuple[str, ...], architecture: str, epochs: int, style: str, out: Path, **given: Any) -> None:
    """Train from the reference experiment to the standard recipe, one change at a time.

    Runs are kept as by `zoo bench`, and the same command goes on where it was stopped. --set changes every step.
    """
    from zoo.render.figures import check_figure

    check_figure(out)

    from zoo.studies.eva6s8 import ablation, reference_recipes

    steps: list[Any] = []

    def load() -> list[Any]:
        found = reference_recipes(overrides, epochs)
        steps.extend(step for step, _ in found)
        return [recipe for _, recipe in found]

    norms = ("in", "ln")
    job, recipes = prepare(load, models=[f"{architecture}_{norm}" for norm in norms], **given)

    from zoo.render.eva6s8 import draw, render

    of_norm = dict(zip(norms, job.models, strict=True))
    stored = carry_out(job, recipes, [[of_norm[step.norm]] for step in steps])
    if job.shows_nothing:
        return
    found = ablation(steps, stored)
    title = f"eva6s8 to standard: {job.data.name}, {architecture}, {epochs} epochs"
    if overrides:
        title += f", {' '.join(overrides)}"
    click.echo(render(found, style, title), nl=False)
    draw(found, out, title)
    click.echo(f"wrote {out}", err=True)


commands = {"batch-size": batch_size, "eva6s8": eva6s8}
