"""`zoo compare`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli import options
from zoo.gcpause import paused_gc


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "markdown", "csv", "latex", "json"]),
    default="text",
    show_default=True,
)
@click.option("--dataset", help="Only this data set.")
@click.option("--recipe", help="Only this recipe: a name, or name-fingerprint as the tables show it.")
@click.option("--model", "patterns", multiple=True, metavar="PATTERN", help="Only models like this (repeatable).")
@click.option("--baseline", metavar="MODEL", help="Test every other model against this one, paired by seed.")
@click.option("--power", is_flag=True, help="Say how many seeds a difference from the --baseline needs to be found.")
@click.option("--allow-mixed", is_flag=True, help="One table of unlike runs, with columns for all that differs.")
@click.option(
    "--view", type=click.Choice(["summary", "quality"]), default="summary", show_default=True,
    help="Which columns a text, markdown or latex table has.",
)  # fmt: skip
@click.option(
    "--seconds-to", type=click.FloatRange(0, 100, min_open=True), metavar="PERCENT",
    help="Add the seconds of training until this accuracy on the selection split.",
)  # fmt: skip
@paused_gc()
def compare(
    runs: tuple[Path, ...],
    style: str,
    dataset: str | None,
    recipe: str | None,
    patterns: tuple[str, ...],
    baseline: str | None,
    power: bool,
    allow_mixed: bool,
    view: str,
    seconds_to: float | None,
) -> None:
    """Show the stored results under RUNS (folders or files; default: runs), one table per data set and recipe."""
    if allow_mixed and (baseline or power):
        raise click.UsageError(
            "--baseline cannot go with --allow-mixed: a test between unlike runs says nothing of models"
        )
    if power and not baseline:
        raise click.UsageError("--power is of differences from a model: name it with --baseline MODEL")

    from fnmatch import fnmatch

    from zoo.compare import compare as group
    from zoo.errors import ResultError, unknown
    from zoo.power import needs
    from zoo.report.power import render_power
    from zoo.report.tables import render
    from zoo.results import find_results, load_all

    paths = find_results(runs or [options.RUNS])
    if not paths:
        raise ResultError(
            f"no result.json under {', '.join(map(str, runs or [options.RUNS]))}; `zoo bench MODEL` makes runs"
        )
    stored = load_all(paths)

    def keep(given: str | None, kind: str, names: list[str]) -> None:
        if given is not None and given not in names:
            raise unknown(kind, given, set(names), "the stored runs", f"stored: {', '.join(sorted(set(names)))}")

    keep(dataset, "data set", [run.result.dataset.name for run in stored])
    stored = [run for run in stored if dataset in (None, run.result.dataset.name)]
    recipes = [run.result.recipe for run in stored]
    slugs = [(told.name, f"{told.name}-{told.fingerprint[:8]}") for told in recipes]
    keep(recipe, "recipe", [name for pair in slugs for name in pair])
    stored = [run for run, names in zip(stored, slugs, strict=True) if recipe is None or recipe in names]
    if patterns:
        names = [run.result.model.name for run in stored]
        stored = [run for run in stored if any(fnmatch(run.result.model.name, pattern) for pattern in patterns)]
        if not stored:
            raise unknown("model pattern", " ".join(patterns), set(names), "the stored runs")
    share = None if seconds_to is None else seconds_to / 100
    groups = group(stored, baseline, mixed=allow_mixed, seconds_to=share)
    click.echo(render_power(needs(groups), style) if power else render(groups, style, view), nl=False)
