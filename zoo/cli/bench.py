"""`zoo bench`."""

from __future__ import annotations

import shlex
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

    MODEL is a name or a pattern ('resnet18_*'). With several seeds, every model is tested against the first one, among
    all runs of that recipe in the folder; `zoo compare --baseline MODEL` tests against another. Finished runs are kept.
    To resume after a crash or Ctrl-C, rerun the same command. If the code of a model fails, it is reported in one line,
    the other models are run, and the exit code is 2.
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
            family, published = _beside(stored, training)
            seeds = {run.result.seed for run in family if run.result.model.name in models}
            names = dict.fromkeys([*models, *(run.result.model.name for run in published)])
            groups = compare(family, models[0] if len(names) > 1 and len(seeds) > 1 else None)
        except ResultError as problem:  # damaged predictions, say: the runs are done all the same
            click.echo(f"zoo: only this command's runs, not tested: {options.line(problem.parts)}", err=True)
            groups, names, published = compare(stored), dict.fromkeys(models), []
        options.echo_tables(render(only(groups, names.__contains__), "text"))
        if published:
            slug = stored[0].result.recipe.slug
            again = ["zoo", "compare", str(training.runs), "published", "--recipe", slug, "--baseline", models[0]]
            click.echo(
                f"{len(published)} published runs are in the table; to print it again: {shlex.join(again)}", err=True
            )
    if failures:
        if len(job.models) > 1:
            click.echo(f"zoo: {len(failures)} of {len(job.models)} models failed: {', '.join(failures)}", err=True)
        raise click.exceptions.Exit(2)


def _beside(stored: Sequence[Stored], training: Training) -> tuple[list[Stored], list[Stored]]:
    """What `zoo compare` takes as one family: all runs in the folder of the dataset and recipe of `stored`, and the
    published ones, which are the second list too.
    """
    from zoo.errors import ResultError
    from zoo.results.published import beside, is_published, own_first
    from zoo.results.reading import read_runs

    result = stored[0].result
    stored_there = read_runs(training.runs, result.dataset.name, result.recipe.slug)
    runs = [run for run in stored_there if run.result.dataset.fingerprint == result.dataset.fingerprint]
    try:
        published, why = beside(result)
    except ResultError as problem:
        published, why = [], options.line(problem.parts)
    if why:
        click.echo(why, err=True)
    family = own_first([*runs, *published])
    return family, [run for run in family if is_published(run.folder)]
