"""`zoo compare`."""

from __future__ import annotations

import click

from zoo.cli import options
from zoo.render.shown import VIEWS, Shown
from zoo.utils.gcpause import paused_gc

SHOWN = (
    click.option(
        "--view", type=click.Choice(VIEWS),
        help="Other columns than the usual ones: speed and memory, other metrics than the accuracy, their differences "
        "from the baseline, or all.",
    ),
    click.option(
        "--columns", callback=options.listed, metavar="NAME,...",
        help="These columns, by their names in --format csv. JSON has fewer fields with it, CSV with --view too.",
    ),
    click.option("--sort", metavar="COLUMN", help="Order the rows by this column, best first; -COLUMN: worst first."),
)  # fmt: skip


@click.command()
@options.table_format
@options.selection_options
@options.baseline
@options.allow_dirty
@options.margin
@click.option("--power", is_flag=True, help="Show how many seeds detect a given difference from the --baseline.")
@click.option(
    "--allow-mixed", is_flag=True, help="One table of runs that differ in more than their model, without tests."
)
@click.option("--tuned", is_flag=True, help="Only runs of tuned recipes, one table for each budget of `zoo tune`.")
@options.gather("shown", Shown, SHOWN)
@click.option(
    "--seconds-to", type=options.Real(0, 100, min_open=True), metavar="PERCENT",
    help="Add a column: seconds of training until this accuracy on the selection split.",
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
    shown: Shown,
    seconds_to: float | None,
) -> None:
    """Show the stored results under RUNS, one table for each dataset and recipe.

    RUNS are folders, files or the word published, the runs that come with zoo.  [default: runs]
    """
    if allow_mixed and (baseline or power):
        raise click.UsageError(
            "--baseline cannot go with --allow-mixed: unlike runs cannot be tested against each other; leave one out"
        )
    if allow_mixed and tuned:
        raise click.UsageError("--tuned cannot go with --allow-mixed: it compares recipes of one budget; leave one out")
    if shown.view == "differences" and not baseline:
        raise click.UsageError("--view differences needs a model to compare with; add --baseline MODEL")
    if power and not baseline:
        raise click.UsageError("--power needs a model to compare with; add --baseline MODEL")

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
        options.echo_tables(groups.select(shown.view, shown.columns, shown.sort).format(style), style)
    for line in groups.lines:
        click.echo(line, err=True)
