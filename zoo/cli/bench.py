"""`zoo bench`."""

from __future__ import annotations

import click

from zoo.cli import options
from zoo.cli.execute import carry_out
from zoo.cli.job import prepare


@click.command()
@options.training_options
def bench(training: options.Training) -> None:
    """Train, evaluate and measure every MODEL under one recipe, then compare them.

    MODEL is a name or a pattern ('resnet18_*'). With several seeds every model is tested against the first one; `zoo
    compare --baseline` takes another. What is done is kept, and what was stopped goes on: give the same command again.
    """
    job = prepare(training, lambda: [training.load_recipe()])

    from zoo.comparison.groups import compare
    from zoo.errors import ResultError
    from zoo.render.comparison import render

    stored = [run for runs in carry_out(job) for run in runs]
    if job.shows_nothing:
        return
    first = job.models[0].name if len(job.models) > 1 and len(job.seeds) > 1 else None
    try:
        groups = compare(stored, first)
    except ResultError as problem:  # damaged predictions, say: the runs are done all the same
        click.echo(f"zoo: not tested against {first}: {options.line(problem.parts)}", err=True)
        groups = compare(stored)
    click.echo(render(groups, "text"), nl=False)
