"""`zoo compare`."""

from __future__ import annotations

import click

from zoo.cli import options
from zoo.utils.gcpause import paused_gc


@click.command()
@options.table_format
@options.selection_options
@options.baseline
@options.allow_dirty
@options.margin
@click.option("--power", is_flag=True, help="Say how many seeds a difference from the --baseline needs to be found.")
@click.option("--allow-mixed", is_flag=True, help="One table of unlike runs, with columns for all that differs.")
@click.option("--tuned", is_flag=True, help="Only runs of tuned recipes, one table per budget of `zoo tune`.")
@click.option(
    "--view", type=click.Choice(["summary", "quality", "differences"]), default="summary", show_default=True,
    help="Which columns a text, markdown or latex table has.",
)  # fmt: skip
@click.option(
    "--seconds-to", type=options.Real(0, 100, min_open=True), metavar="PERCENT",
    help="Add the seconds of training until this accuracy on the selection split.",
)  # fmt: skip
@paused_gc()
def compare(
    selection: options.Selection,
    style: str,
    baseline: str | None,
    allow_dirty: bool,
    margin: float | None,
    power: bool,
    allow_mixed: bool,
    tuned: bool,
    view: str,
    seconds_to: float | None,
) -> None:
    """Show the stored results under RUNS (folders or files; default: runs), one table per data set and recipe."""
    if allow_mixed and (baseline or power):
        raise click.UsageError(
            "--baseline cannot go with --allow-mixed: a test between unlike runs says nothing of models"
        )
    if allow_mixed and tuned:
        raise click.UsageError("--tuned cannot go with --allow-mixed: it shows what was tuned under one budget")
    if view == "differences" and not baseline:
        raise click.UsageError("--view differences is from a model: name it with --baseline MODEL")
    if power and not baseline:
        raise click.UsageError("--power is of differences from a model: name it with --baseline MODEL")

    from zoo import api

    groups = api.compare(
        selection.runs or options.RUNS,
        baseline,
        dataset=selection.dataset,
        recipe=selection.recipe,
        model=selection.patterns,
        mixed=allow_mixed,
        tuned=tuned,
        seconds_to=None if seconds_to is None else seconds_to / 100,
        margin=None if margin is None else margin / 100,
        allow_dirty=allow_dirty,
    )
    if power:
        from zoo.comparison.power import needs, too_few
        from zoo.render.power import render_power

        click.echo(render_power(needs(groups), style), nl=False)
        if missing := too_few(groups):
            click.echo(f"left out: {', '.join(missing)}", err=True)
    else:
        from zoo.render.comparison import render

        click.echo(render(groups, style, view), nl=False)
    for line in groups.lines:
        click.echo(line, err=True)
