"""`zoo bench`."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli.training import carry_out, prepare, training_options


@click.command()
@training_options
def bench(recipe: str, overrides: tuple[str, ...], **given: Any) -> None:
    """Train, evaluate and measure every MODEL under one recipe, then compare them.

    MODEL is a name or a pattern ('resnet18_*'). What is done is kept, and what was stopped goes on: give the same
    command again.
    """

    def load() -> list[Any]:
        from zoo.recipe import load_recipe

        return [load_recipe(recipe, overrides)]

    job, recipes = prepare(load, **given)

    from zoo.compare import compare
    from zoo.report.tables import render

    (stored,) = carry_out(job, recipes)
    click.echo(render(compare(stored), "text"), nl=False)
