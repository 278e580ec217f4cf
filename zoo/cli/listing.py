"""`zoo list`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from zoo.cli import options
from zoo.registry.entries import Origin
from zoo.registry.model import Model
from zoo.render import marks

Entry = tuple[str, str, Origin]  # name, label, origin


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN...]", shell_complete=options.complete_models)
@click.option("--all", "everything", is_flag=True, help="Every <architecture>_<norm> pair, not only the listed models.")
@click.option("--origin", is_flag=True, help="Show the file and line that each entry comes from.")
@options.registry
def list_(patterns: tuple[str, ...], everything: bool, origin: bool, registry: str | None) -> None:
    """Show norms, architectures, models and recipes.

    With PATTERNs such as 'resnet*_ln' only the models that match, of all <architecture>_<norm> pairs.
    """
    from zoo.recipes import catalogue
    from zoo.registry.merge import choices, load_registry

    loaded = load_registry(registry)
    if patterns or everything:
        _print("", _models(loaded.match(patterns or ["*"])), origin)
        return
    for title, entries in (("norms", choices(loaded.norms)), ("architectures", choices(loaded.architectures))):
        rows = [(package + name, entry.label or entry.builder, entry.origin) for package, name, entry in entries]
        _print(f"{title} ({len(rows)})", rows, origin)
    models = _models(loaded.resolve(package + name) for package, name, _ in choices(loaded.models))
    _print(f"models ({len(models)} listed)", models, origin)
    recipes = catalogue.recipes()
    rows = [(entry.name, marks.marked(entry.description, entry.selection), entry.origin) for entry in recipes]
    _print(f"recipes ({len(recipes)})", rows, origin)
    for note in marks.selection_notes(*(entry.selection for entry in recipes)):
        click.echo(note)
    click.echo("Any <architecture>_<norm> is a model, listed or not: `zoo list --all`, `zoo show MODEL`.")


def _print(title: str, rows: list[Entry], origin: bool) -> None:
    if title:
        click.secho(title, bold=True)
    indent = "  " if title else ""
    width = max((len(row[0]) for row in rows), default=0)
    label_width = max((len(row[1]) for row in rows), default=0)
    for name, label, where in rows:
        tail = f"  {options.line([where.layer])}: {where}" if origin else ""
        click.echo(f"{indent}{name:<{width}}  {label:<{label_width if origin else 0}}{tail}")
    if title:
        click.echo()


def _models(models: Iterable[Model]) -> list[Entry]:
    return [(model.name, model.label, model.origin) for model in models]
