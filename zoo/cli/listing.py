"""`zoo list`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from zoo.cli import options
from zoo.registry.alike import alike
from zoo.registry.entries import Origin
from zoo.registry.model import Model, is_built_in
from zoo.render import marks
from zoo.render.fit import INDENT, fit, width, wrap

Entry = tuple[str, str, Origin]  # name, label, origin


@click.command("list")
@click.argument("patterns", nargs=-1, metavar="[PATTERN...]", shell_complete=options.complete_models)
@click.option(
    "--all", "everything", is_flag=True, help="List every <architecture>_<norm> pair, not only the listed models."
)
@click.option("--origin", is_flag=True, help="Show the file and line that each entry comes from.")
@options.registry
def list_(patterns: tuple[str, ...], everything: bool, origin: bool, registry: str | None) -> None:
    """List norms, architectures, models and recipes.

    With PATTERNs such as 'resnet*_ln' only the models that match, of all <architecture>_<norm> pairs.
    """
    from zoo.recipes import catalogue
    from zoo.registry.merge import choices, load_registry

    loaded = load_registry(registry)
    if patterns or everything:
        models = loaded.match(patterns or ["*"])
        _print("", _models(models), origin)
        _say(*_alike(models), err=True)
        return
    for title, entries in (("norms", choices(loaded.norms)), ("architectures", choices(loaded.architectures))):
        rows = [(package + name, entry.label or entry.builder, entry.origin) for package, name, entry in entries]
        _print(f"{title} ({len(rows)})", rows, origin)
    models = [loaded.resolve(package + name) for package, name, _ in choices(loaded.models)]
    _print(f"models ({len(models)} listed)", _models(models), origin)
    _say(*_alike(models), "")
    recipes = catalogue.recipes()
    rows = [(entry.name, marks.marked(entry.description, entry.selection), entry.origin) for entry in recipes]
    _print(f"recipes ({len(recipes)})", rows, origin)
    _say(*marks.selection_notes(*(entry.selection for entry in recipes)))
    _say("Any <architecture>_<norm> is a model, listed or not: `zoo list --all`, `zoo show MODEL`.")


def _print(title: str, rows: list[Entry], origin: bool) -> None:
    if title:
        click.secho(title, bold=True)
    indent = "  " if title else ""
    cells = [
        {"name": name, "label": label + f"; {options.line([where.layer])}: {where}" * origin}
        for name, label, where in rows
    ]
    for line in fit(cells, ("name", "label"), width() - len(indent), titled=False).splitlines():
        click.echo(f"{indent}{line}" if line else "")
    if title:
        click.echo()


def _models(models: Iterable[Model]) -> list[Entry]:
    return [(model.name, model.label, model.origin) for model in models]


def _alike(models: Iterable[Model]) -> list[str]:
    pairs = ((model.architecture, model.norm) for model in models if model.architecture and model.norm)
    return alike((vars(architecture), vars(norm)) for architecture, norm in pairs if is_built_in(norm.origin))


def _say(*notes: str, err: bool = False) -> None:
    for note in notes:
        click.echo("\n".join(wrap(note, width(), INDENT)), err=err)
