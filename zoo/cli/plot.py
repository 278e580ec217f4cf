"""`zoo plot`: figures for papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options

if TYPE_CHECKING:
    from zoo.results.folder import Stored

HELP = "Figures for papers, of stored runs: pdf, svg, png, over one or two columns."


FORMATS = ("pdf", "svg", "png")


def _formats(ctx: click.Context, param: click.Parameter, text: str) -> tuple[str, ...]:
    """``pdf,svg``: kinds of file, each once."""
    parts = [part.strip().lower() for part in text.split(",")]
    for part in parts:
        if part not in FORMATS:
            raise click.BadParameter(f"{part!r} is no kind of figure; expected some of {','.join(FORMATS)}")
    return tuple(dict.fromkeys(parts))


def _options(out: str) -> options.Decorator:
    """The options of every plot; its files are called `out` where no name is given."""
    offered = (
        click.argument("runs", nargs=-1, type=click.Path(path_type=Path)),
        options.selection_options,
        click.option(
            "--out", type=click.Path(path_type=Path), default=Path(out), show_default=True, metavar="NAME",
            help="Where, without a suffix: NAME.pdf and so on are written.",
        ),
        click.option(
            "--format", "formats", callback=_formats, default="pdf", show_default=True, metavar="KIND,...",
            help="Some of pdf,svg,png.",
        ),
        click.option(
            "--columns", type=click.Choice(["1", "2"]), default="1", show_default=True,
            help="Over how many columns of a paper: 3.3 or 6.9 inches wide.",
        ),
    )  # fmt: skip
    return lambda command: options.offer(command, offered)


def _read(selection: options.Selection, out: Path, formats: Sequence[str]) -> tuple[list[Stored], list[Path]]:
    """The selected runs and the files to write, which are checked first."""
    from zoo.render.plots.sheet import outputs

    files = outputs(out, formats)
    return selection.read(), files


def _write(files: Sequence[Path], draw: Callable[..., None], *arguments: Any) -> None:
    for file in files:
        draw(*arguments, file)
    click.echo(f"wrote {', '.join(map(str, files))}", err=True)


@click.command()
@_options("curves")
@click.option("--lr", "rates", is_flag=True, help="Add the learning rate below.")
def curves(selection: options.Selection, out: Path, formats: tuple[str, ...], columns: str, rates: bool) -> None:
    """Accuracy on the selection split by epoch, and thin the training accuracy, one line per model of one recipe.

    Over several seeds: the mean, and a band from the lowest to the highest.
    """
    stored, files = _read(selection, out, formats)

    from zoo.comparison.groups import compare
    from zoo.render.plots.curves import draw
    from zoo.render.plots.sheet import only_group

    _write(files, draw, only_group(compare(stored)), rates, int(columns))


@click.command()
@_options("pareto")
@click.option(
    "--cost", type=click.Choice(["both", "speed", "parameters"]), default="both", show_default=True,
    help="Against training speed (of one machine), parameters, or a panel of each.",
)  # fmt: skip
def pareto(selection: options.Selection, out: Path, formats: tuple[str, ...], columns: str, cost: str) -> None:
    """Test accuracy against training speed and against parameters, one recipe, with the Pareto front."""
    stored, files = _read(selection, out, formats)

    from zoo.comparison.groups import compare
    from zoo.render.plots.pareto import COSTS, draw
    from zoo.render.plots.sheet import only_group

    costs = COSTS if cost == "both" else (cost,)
    _write(files, draw, only_group(compare(stored)), costs, int(columns))


@click.command()
@_options("bars")
def bars(selection: options.Selection, out: Path, formats: tuple[str, ...], columns: str) -> None:
    """Test accuracy per model of one recipe with 95 % intervals, best first."""
    stored, files = _read(selection, out, formats)

    from zoo.comparison.groups import compare
    from zoo.render.plots.bars import draw
    from zoo.render.plots.sheet import only_group

    _write(files, draw, only_group(compare(stored)), int(columns))


@click.command("batch-size")
@_options("batch-size")
def batch_size(selection: options.Selection, out: Path, formats: tuple[str, ...], columns: str) -> None:
    """Test error against training batch size: the picture of `zoo study batch-size`, without training anything."""
    stored, files = _read(selection, out, formats)

    from zoo.render.plots.batch_size import draw
    from zoo.studies.batch_size import by_size

    about, groups = by_size(stored)
    _write(files, draw, about, groups, int(columns))


commands = {"curves": curves, "pareto": pareto, "bars": bars, "batch-size": batch_size}
