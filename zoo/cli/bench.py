"""`zoo bench`."""

from __future__ import annotations

from typing import Any

import click

from zoo.cli import options
from zoo.cli.execute import carry_out
from zoo.cli.job import of_one, prepare
from zoo.cli.options import training_options


@click.command()
@training_options
def bench(recipe: str, overrides: tuple[str, ...], **given: Any) -> None:
    """Train, evaluate and measure every MODEL under one recipe, then compare them.

    MODEL is a name or a pattern ('resnet18_*'). With several seeds every model is tested against the first one; `zoo
    compare --baseline` takes another. What is done is kept, and what was stopped goes on: give the same command again.
    """
    job, recipes = prepare(of_one(recipe, overrides), **given)

    from zoo.comparison.groups import compare
    from zoo.errors import ResultError
    from zoo.render.comparison import render

    stored = carry_out(job, recipes)
    if job.shows_nothing:
        return
    (stored,) = stored
    first = job.models[0].name if len(job.models) > 1 and len(job.seeds) > 1 else None
    try:
        groups = compare(stored, first)
    except ResultError as problem:  # damaged predictions, say: the runs are done all the same
        click.echo(f"zoo: not tested against {first}: {options.line(problem.parts)}", err=True)
        groups = compare(stored)
    click.echo(render(groups, "text"), nl=False)
