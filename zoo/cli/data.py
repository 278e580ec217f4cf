"""`zoo data list|verify|show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo.cli import options

HELP = "Find, check and look at data sets."


@click.command("list")
@options.data_dir
def list_(data_dir: str | None) -> None:
    """Show the data sets there are and where each was found."""
    from zoo.data.datasets import available

    for dataset in available(data_dir):
        click.echo(f"{dataset.name:<14}{dataset.description}")
        click.echo(f"{'':<14}{dataset.location or options.line(dataset.hint)}")


@click.command()
@click.argument("dataset")
@options.data_dir
def verify(dataset: str, data_dir: str | None) -> None:
    """Check DATASET: counts, statistics, fingerprint, duplicates within and across splits."""
    from zoo.data import inspect
    from zoo.data.datasets import load

    _print(inspect.verify(load(dataset, data_dir)))


@click.command()
@click.argument("dataset")
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True)
@click.option("--per-class", type=click.IntRange(min=1), default=10, show_default=True, help="Images of each class.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The PNG file.  [default: DATASET-SPLIT.png]"
)
@options.data_dir
def show(dataset: str, split: str, per_class: int, out: Path | None, data_dir: str | None) -> None:
    """Describe DATASET and write a contact sheet, one row per class."""
    from zoo.data import inspect
    from zoo.data.datasets import load

    loaded = load(dataset, data_dir)
    _print(inspect.describe(loaded))
    path = inspect.contact_sheet(loaded, split, per_class, out or Path(f"{loaded.name}-{split}.png"))
    click.echo(f"wrote {path}")


def _print(facts: dict[str, Any]) -> None:
    import yaml

    click.echo(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=120), nl=False)


commands = {"list": list_, "verify": verify, "show": show}
