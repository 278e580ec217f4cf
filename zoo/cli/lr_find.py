"""`zoo lr-find`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.cli.training import prepare, step_options


@click.command("lr-find")
@step_options
@click.option("--low", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="First rate.")
@click.option("--high", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Last rate.")
@click.option(
    "--steps", type=click.IntRange(min=10), default=200, show_default=True, help="From the first to the last."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--format", "style", type=click.Choice(["text", "markdown", "csv", "latex", "json"]), default="text",
    show_default=True,
)  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("lr-find.png"), show_default=True,
    help="The picture: .png, .svg or .pdf.",
)  # fmt: skip
def lr_find(
    recipe: str,
    overrides: tuple[str, ...],
    low: float,
    high: float,
    steps: int,
    seed: int,
    style: str,
    out: Path,
    **given: Any,
) -> None:
    """Let the learning rate of every MODEL rise step by step, and show where its training loss falls and diverges.

    A test of a minute, by training images alone; no run is kept. `zoo tune` tries rates for a whole training.
    """
    if not low < high:
        raise click.BadParameter(f"{low:g} is not below --high {high:g}", param_hint="--low")

    from zoo.report.figures import check_figure

    check_figure(out)

    def load() -> list[Any]:
        from zoo.recipe import load_recipe

        return [load_recipe(recipe, overrides)]

    job, (wanted,) = prepare(load, **given)

    from zoo.bench import check_models
    from zoo.inputs import check_data
    from zoo.lr_find import lr_find as find
    from zoo.report.lr_find import draw, render

    check_data(wanted, job.data, job.settings)
    check_models(job.models, wanted, job.data, job.settings)
    found = []
    for number, model in enumerate(job.models, 1):
        click.echo(f"[{number}/{len(job.models)}] {model.name}", err=True)
        found.append(find(model, wanted, job.data, job.settings, low=low, high=high, steps=steps, seed=seed))
    title = f"{job.data.name}, recipe {wanted.slug}, {wanted.precision}, {steps} steps from {low:g} to {high:g}"
    click.echo(render(found, style, title), nl=False)
    draw(found, title, out)
    click.echo(f"wrote {out}", err=True)
