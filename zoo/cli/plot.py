"""`zoo plot`: figures for papers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options

if TYPE_CHECKING:
    from zoo.results.folder import Stored

Draw = Callable[..., str]  # gives what is left out
HELP = "Figures for papers, of stored runs: pdf, svg, png, over one or two columns."
FORMATS = ("pdf", "svg", "png")


def _formats(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...]:
    """``pdf,svg``: kinds of file, each once."""
    if text is None:
        return ()
    parts = [part.strip().lower() for part in text.split(",")]
    for part in parts:
        if part not in FORMATS:
            raise click.BadParameter(f"{part!r} is no kind of figure; expected some of {','.join(FORMATS)}")
    return tuple(dict.fromkeys(parts))


def _plot(name: str) -> Callable[[Callable[..., Draw]], Callable[..., None]]:
    """Makes a command of what returns the function that draws a file; files are called `name` by default."""
    offered = (
        options.selection_options,
        click.option(
            "--out", type=click.Path(path_type=Path), default=Path(name), show_default=True, metavar="NAME",
            help="Name of the file with its suffix, as in NAME.png, or of several files without one.",
        ),
        click.option(
            "--format", "formats", callback=_formats, metavar="KIND,...",
            help="File formats: some of pdf,svg,png.  [default: the suffix of NAME, else pdf]",
        ),
        click.option(
            "--columns", type=click.Choice(["1", "2"]), default="1", show_default=True,
            help="Width in columns of a paper: 3.3 or 6.9 inches.",
        ),
        click.option(
            "--baseline", "near", metavar="MODEL",
            help="If a figure cannot hold all models: show those nearest to MODEL in accuracy, not the best.",
        ),
    )  # fmt: skip

    def decorate(prepare: Callable[..., Draw]) -> Callable[..., None]:
        @functools.wraps(prepare)
        def plot(
            selection: options.Selection, out: Path, formats: Sequence[str], columns: str, near: str | None, **own: Any
        ) -> None:
            from zoo.render.plots.sheet import outputs

            files = outputs(out, formats)  # checked before anything is read
            draw = prepare(selection.read(), int(columns), **own)
            choices = [draw(file, near=near) for file in files]
            if choices[0]:
                click.echo(f"{choices[0]}; choose others with --model or --baseline", err=True)
            click.echo(f"wrote {', '.join(map(str, files))}", err=True)

        return options.offer(plot, offered)

    return decorate


@click.command()
@_plot("curves")
@click.option("--lr", "rates", is_flag=True, help="Add a panel with the learning rate.")
def curves(stored: list[Stored], columns: int, rates: bool) -> Draw:
    """Accuracy on the selection split by epoch, with the running train accuracy as thin lines, for one recipe.

    Over several seeds: the mean, and a band from the lowest to the highest.
    """
    from zoo.comparison.groups import compare
    from zoo.render.plots.curves import draw
    from zoo.render.plots.sheet import only_group

    return functools.partial(draw, only_group(compare(stored)), rates, columns)


@click.command()
@_plot("pareto")
@click.option(
    "--cost", type=click.Choice(["both", "speed", "parameters"]), default="both", show_default=True,
    help="Cost: training speed (of one machine), parameters, or a panel for each.",
)  # fmt: skip
def pareto(stored: list[Stored], columns: int, cost: str) -> Draw:
    """Test accuracy against training speed and against parameters, one recipe, with the Pareto front."""
    from zoo.comparison.groups import compare
    from zoo.render.plots.pareto import COSTS, draw
    from zoo.render.plots.sheet import only_group

    return functools.partial(draw, only_group(compare(stored)), COSTS if cost == "both" else (cost,), columns)


@click.command()
@_plot("bars")
def bars(stored: list[Stored], columns: int) -> Draw:
    """Test accuracy of each model of one recipe with 95 % intervals, best first."""
    from zoo.comparison.groups import compare
    from zoo.render.plots.bars import draw
    from zoo.render.plots.sheet import only_group

    return functools.partial(draw, only_group(compare(stored)), columns)


@click.command("batch-size")
@_plot("batch-size")
def batch_size(stored: list[Stored], columns: int) -> Draw:
    """Test error against training batch size: the plot of `zoo study batch-size`, without training."""
    from zoo.render.plots.batch_size import draw
    from zoo.studies.batch_size import by_size

    return functools.partial(draw, *by_size(stored), columns)


commands = {"curves": curves, "pareto": pareto, "bars": bars, "batch-size": batch_size}
