"""`zoo bench`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.cli.execute import carry_out
from zoo.cli.job import prepare
from zoo.cli.training import Training, training_options

if TYPE_CHECKING:
    from zoo.results.folder import Stored


@click.command()
@training_options
def bench(training: Training) -> None:
    """Train, evaluate and measure every MODEL under one recipe, then compare them.

    MODEL is a name or a pattern ('resnet18_*'). With several seeds every model is tested against the first one, among
    all runs of that recipe in the folder; `zoo compare --baseline` takes another. What is done is kept, and what was
    stopped goes on: give the same command again. A model whose code fails is reported in one line, the others are run,
    and the exit code is 2.
    """
    job = prepare(training, lambda: [training.load_recipe()])

    from zoo.comparison.groups import compare, only
    from zoo.errors import RegistryError, ResultError
    from zoo.render.comparison import render

    failures: dict[str, RegistryError] = {}
    stored = [run for runs in carry_out(job, failures=failures) for run in runs]
    if stored and not job.shows_nothing:
        models = [model.name for model in job.models if model.name not in failures]
        try:
            family = _beside(stored, training)
            several = (
                len(models) > 1 and len({run.result.seed for run in family if run.result.model.name in models}) > 1
            )
            groups = compare(family, models[0] if several else None)
        except ResultError as problem:  # damaged predictions, say: the runs are done all the same
            click.echo(f"zoo: only this command's runs, not tested: {options.line(problem.parts)}", err=True)
            groups = compare(stored)
        click.echo(render(only(groups, models.__contains__), "text"), nl=False)
    if failures:
        if len(job.models) > 1:
            click.echo(f"zoo: {len(failures)} of {len(job.models)} models failed: {', '.join(failures)}", err=True)
        raise click.exceptions.Exit(2)


def _beside(stored: Sequence[Stored], training: Training) -> list[Stored]:
    """All runs in the folder of the dataset and recipe of `stored`: what `zoo compare` takes as one family."""
    from zoo.api import read_runs

    result = stored[0].result
    runs = read_runs(training.runs, result.dataset.name, result.recipe.slug)
    return [run for run in runs if run.result.dataset.fingerprint == result.dataset.fingerprint]
