"""`zoo study batch-size`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.cli.training import carry_out, prepare, training_options

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
@click.option(
    "--format", "style", type=click.Choice(["text", "markdown", "csv", "latex", "json"]), default="text",
    show_default=True,
)  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("batch-size.png"), show_default=True,
    help="The picture: .png, .svg or .pdf.",
)  # fmt: skip
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
    from zoo.report.figures import check_figure

    check_figure(out)

    from zoo.recipe import load_recipe
    from zoo.study import batch_size_recipes, batch_sizes

    def load() -> list[Any]:
        return list(batch_size_recipes(recipe, overrides, values, lr_rule).values())

    job, recipes = prepare(load, **given)

    from zoo.report.batch_size import draw, render

    stored = carry_out(job, recipes)
    study = batch_sizes(
        load_recipe(recipe, overrides),
        lr_rule,
        dict(zip(values, recipes, strict=True)),
        dict(zip(values, stored, strict=True)),
    )
    click.echo(render(study, style), nl=False)
    draw(study, out)
    click.echo(f"wrote {out}", err=True)


commands = {"batch-size": batch_size}
