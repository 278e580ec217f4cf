"""`zoo data list|fetch|verify|show|clear`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options
from zoo.cli.predict import size_of
from zoo.data.choice import Choice
from zoo.render.fit import fit, width, wrap
from zoo.utils.text import visible

if TYPE_CHECKING:
    from zoo.data.copies import Copy

HELP = "Find, fetch, check and view datasets, and delete their decoded copies."
image_size = click.option(
    "--image-size",
    callback=size_of,
    metavar="WxH",
    help="Resize images to this size, as the recipe key image_size does.",
)


@click.command("list")
@options.data_dir
def list_(data_dir: str | None) -> None:
    """List the datasets, where each was found or how to get it, and their decoded copies in the cache."""
    from zoo.data.cache import decoded_folder
    from zoo.data.copies import copies
    from zoo.data.datasets import available
    from zoo.data.fetch import SOURCES

    for dataset in available(data_dir):
        lines = [dataset.description, dataset.location or options.line(dataset.hint)]
        if dataset.name in SOURCES:
            lines.append(SOURCES[dataset.name].licence)
        indent = " " * 14
        wrapped = [line for text in lines for line in wrap(visible(text), width() - len(indent))]
        click.echo(f"{visible(dataset.name):<14}" + f"\n{indent}".join(wrapped))
    if decoded := copies():
        click.echo()
        click.echo(f"{_show_copies(decoded)} in {decoded_folder()}; `zoo data clear` removes them")


@click.command()
@click.argument("name")
@click.option(
    "--from", "place", metavar="FILE|ADDRESS", help="Read the published file from here instead of the mirrors."
)
@click.option("--dry-run", is_flag=True, help="Show what would be downloaded; download nothing.")
@options.data_dir
def fetch_(name: str, place: str | None, dry_run: bool, data_dir: str | None) -> None:
    """Download the dataset NAME into --data-dir, or into the user's cache.

    NAME is cifar10, cifar100 or cifar10-jpeg. What is downloaded is checked against the published checksum. Mirrors are
    tried first; the variable ZOO_MIRROR names one of your own, an address below which the file lies. After an
    interruption the same command resumes the download.
    """
    from zoo.data import datasets, fetch
    from zoo.utils.memory import size

    source, roots = fetch.source_of(name), datasets.search_path(data_dir)
    there = next(row.location for row in datasets.available(data_dir) if row.name == name)
    if there:
        click.echo(f"{name} is in {there} already")
    elif dry_run:
        click.echo(f"would put {name} ({source.file}, {size(source.bytes)}) into {roots[-1]}, from the first of")
        for address in fetch.places_of(source, place):
            click.echo(f"  {address}")
    else:
        put = fetch.fetch(name, roots[-1], place, options.show_progress)
        click.echo(f"wrote {put}; `zoo data verify {name}` describes it")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def clear(names: tuple[str, ...], yes: bool) -> None:
    """Remove decoded copies of datasets from the cache.

    NAME is a dataset's name or a copy's, as `zoo data list` shows them; without it all copies are removed. Those in
    use stay. The dataset itself is not touched, and is decoded again when it is next used.
    """
    from zoo.data.cache import decoded_folder
    from zoo.data.copies import copies, remove

    chosen = copies(names)
    free = [copy for copy in chosen if not copy.in_use]
    _show_copies([copy for copy in chosen if copy.in_use])
    if not free:
        click.echo(f"nothing to remove from {decoded_folder()}")
        return
    what = f"{_show_copies(free)} from {decoded_folder()}"
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(f"removing {what} needs a confirmation, and stdin is no terminal; add --yes")
    if not yes:
        click.confirm(f"remove {what}?", abort=True)
    for copy in free:
        remove(copy)
    click.echo(f"removed {what}")


def _show_copies(copies: list[Copy]) -> str:
    """Print them, one a line; the total."""
    from zoo.utils.memory import size

    rows = [
        {"copy": copy.folder.name, "size": size(copy.bytes), "source": visible(copy.source) + ", in use" * copy.in_use}
        for copy in copies
    ]
    if rows:
        click.echo(fit(rows, ("copy", "source"), width(), titled=False))
    return f"{len(copies)} decoded cop{'y' if len(copies) == 1 else 'ies'} ({size(sum(copy.bytes for copy in copies))})"


@click.command()
@click.argument("dataset")
@options.data_dir
@image_size
@options.choice_options
def verify(dataset: str, data_dir: str | None, choice: Choice) -> None:
    """Check DATASET: counts, statistics, fingerprint, and duplicates within and across splits."""
    from zoo.data import inspect
    from zoo.data.datasets import load

    _print(inspect.verify(load(dataset, data_dir, choice)))


@click.command()
@click.argument("dataset")
@click.option("--part", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option(
    "--per-class", type=click.IntRange(min=1), default=10, show_default=True, help="Number of images of each class."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Output file.  [default: DATASET-PART.png]"
)
@options.data_dir
@image_size
@options.choice_options
def show(dataset: str, part: str, per_class: int, out: Path | None, data_dir: str | None, choice: Choice) -> None:
    """Describe DATASET and write a contact sheet with one row per class."""
    from zoo.data import inspect
    from zoo.data.datasets import load

    loaded = load(dataset, data_dir, choice)
    _print(inspect.describe(loaded))
    path = inspect.contact_sheet(loaded, part, per_class, out or Path(f"{loaded.name}-{part}.png"))
    click.echo(f"wrote {path}")


def _print(facts: dict[str, Any]) -> None:
    import yaml

    click.echo(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=120), nl=False)


commands = {"list": list_, "fetch": fetch_, "verify": verify, "show": show, "clear": clear}
