"""The recipes that have a name, as plain rows: for `zoo list` and completion. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import RecipeError
from zoo.registry import plugins
from zoo.registry.entries import Origin
from zoo.utils import yamlfile

RECIPES = Path(__file__).parent


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe as a list shows it. `selection`: the split that chooses the weights."""

    name: str
    description: str
    selection: str
    origin: Origin


def recipe_names() -> list[str]:
    """The recipes that have a name: built in and of plugins."""
    return sorted(recipe_files())


def recipe_files() -> dict[str, Origin]:
    """Where each of them stands. A plugin's that is wrong is left out, with one line on stderr.

    Raises :class:`RecipeError` where two have one name.
    """
    files = _built_in()
    sound = plugins.sound(recipe_plugins())
    for name, second in [(plugin.name, plugin.recipe) for plugin in sound if plugin.recipe]:
        if first := files.get(name):
            packages = " or ".join(origin.distribution for origin in (first, second) if origin.distribution)
            raise RecipeError(
                f"recipe {name!r} is there twice: {first} and {second}; uninstall {packages}, "
                "or ask its author to rename it"
            )
        files[name] = second
    return files


def recipe_plugins() -> list[plugins.Plugin]:
    """The installed plugins of the group ``zoo.recipes``; broken ones say why."""
    installed = plugins.recipes()
    files = {plugin.name: plugin.recipe for plugin in installed if plugin.recipe} | _built_in()
    return [_readable(plugin, files) for plugin in installed]


def recipes() -> list[RecipeEntry]:
    """Every recipe with a name, sorted."""
    files = recipe_files()
    return [_entry(name, files[name], files) for name in sorted(files)]


def _built_in() -> dict[str, Origin]:
    return {path.stem: Origin("built in", path, 1) for path in RECIPES.glob("*.yaml")}


def _readable(plugin: plugins.Plugin, files: Mapping[str, Origin]) -> plugins.Plugin:
    """Broken where a list could not show it. The rest of a recipe is checked when it is used: that takes pydantic."""
    if plugin.recipe:
        try:
            _entry(plugin.name, plugin.recipe, files)
        except RecipeError as problem:
            return plugin.broken(problem)
    return plugin


def _entry(name: str, origin: Origin, files: Mapping[str, Origin]) -> RecipeEntry:
    path, content = origin.path, yamlfile.read_plain(origin.path, RecipeError)
    description = content.get("description")
    if not isinstance(description, str):
        raise RecipeError(f"{path}: description: expected text, found {yamlfile.type_name(description)}")
    return RecipeEntry(name, description, _selection_split(content, path, files, ()), origin)


def _selection_split(content: dict[str, Any], path: Path, files: Mapping[str, Origin], below: tuple[Path, ...]) -> str:
    """Without :mod:`zoo.recipes.recipe`, whose pydantic takes longer to import than a list may take."""
    selection, base = content.get("selection"), content.get("extends")
    if isinstance(selection, dict) and "split" in selection:
        return str(selection["split"])
    if base is None:
        raise RecipeError(f"{path}: selection.split is missing")
    if path in below:
        raise RecipeError(f"{path}: 'extends' goes round in a circle")
    other = files[str(base)].path if str(base) in files else path.parent / str(base)
    if not other.is_file():
        raise RecipeError(f"{path}: extends: {base!r} is no recipe's name and no file beside it")
    return _selection_split(yamlfile.read_plain(other, RecipeError), other, files, (*below, path))
