"""`zoo compare`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli import options


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
def compare(
    runs: tuple[Path, ...],
    style: str,
    dataset: str | None,
    recipe: str | None,
    patterns: tuple[str, ...],
    baseline: str | None,
) -> None:
    """Show the stored results under RUNS (folders or files; default: runs), one table per data set and recipe."""
    from fnmatch import fnmatch

    from zoo.compare import compare as group
    from zoo.errors import ResultError, unknown
    from zoo.report.tables import render
    from zoo.results import find_results, load_result

    paths = find_results(runs or [options.RUNS])
    if not paths:
        raise ResultError(
            f"no result.json under {', '.join(map(str, runs or [options.RUNS]))}; `zoo bench MODEL` makes runs"
        )
    results = [load_result(path) for path in paths]

    def keep(given: str | None, kind: str, names: list[str]) -> None:
        if given is not None and given not in names:
            raise unknown(kind, given, set(names), "the stored runs", f"stored: {', '.join(sorted(set(names)))}")

    keep(dataset, "data set", [result.dataset.name for result in results])
    results = [result for result in results if dataset in (None, result.dataset.name)]
    slugs = [(result.recipe.name, f"{result.recipe.name}-{result.recipe.fingerprint[:8]}") for result in results]
    keep(recipe, "recipe", [name for pair in slugs for name in pair])
    results = [result for result, names in zip(results, slugs, strict=True) if recipe is None or recipe in names]
    if patterns:
        names = [result.model.name for result in results]
        results = [result for result in results if any(fnmatch(result.model.name, pattern) for pattern in patterns)]
        if not results:
            raise unknown("model pattern", " ".join(patterns), set(names), "the stored runs")
    click.echo(render(group(results, baseline), style), nl=False)
