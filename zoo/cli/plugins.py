"""`zoo plugins`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.render.fit import fit, width
from zoo.utils.text import visible

if TYPE_CHECKING:
    from zoo.registry.plugins import Plugin


@click.command()
def plugins() -> None:
    """List the installed packages that add norms, architectures, models or recipes.

    For a broken package, the reason why it is skipped is shown. `zoo new` creates such a package.
    """
    from zoo.recipes.catalogue import recipe_files, recipe_plugins
    from zoo.registry.merge import load_registry, registry_plugins

    installed = sorted([*registry_plugins(), *recipe_plugins()], key=lambda plugin: (plugin.distribution, plugin.name))
    if not installed:
        click.echo("No plugin is installed. `zoo new norm NAME` creates one.")
        return
    rows = []
    for plugin in installed:
        package, *version = plugin.distribution.rsplit(" ", 1)
        cells = {"plugin": plugin.name, "package": package, "version": "".join(version), "adds": _added(plugin)}
        rows.append({name: visible(cell) for name, cell in cells.items()})
    click.echo(fit(rows, [*rows[0]], width()))
    click.echo()
    for line in load_registry().of_packages():
        click.echo(line)
    recipe_files()  # where two define one recipe, that is an error here as everywhere


def _added(plugin: Plugin) -> str:
    """Names, section by section; of many the first and how many more."""
    if plugin.problem:
        return f"nothing, it is broken: {options.line(plugin.problem.parts)}"
    if plugin.recipe:
        return f"recipe {plugin.name}"
    sections = {kind: list(getattr(plugin.registry, f"{kind}s")) for kind in ("norm", "architecture", "model")}
    added = [f"{kind}{'s' if len(names) > 1 else ''} {_some(names)}" for kind, names in sections.items() if names]
    return "; ".join(added) or "nothing, its registry is empty"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
