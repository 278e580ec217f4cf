"""Installed packages that add to zoo, found by their entry points.

Group ``zoo.registry``: norms, architectures and models. The value is ``package:registry.yaml``, a file in a package
that is found and read without importing anything, or ``module:attribute``, a mapping with the same sections or a Path
of such a file, for which the module is imported. Group ``zoo.recipes``: ``package:name.yaml``, a recipe called
``name``.

A broken plugin is reported, never raised: the rest of zoo works without it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from zoo.errors import RegistryError, ZooError
from zoo.registry.entries import Origin, RegistryFile, read_registry_file, registry_file
from zoo.registry.foreign import foreign
from zoo.registry.importing import import_anew
from zoo.utils import yamlfile
from zoo.utils.text import named

REGISTRY_GROUP = "zoo.registry"
RECIPE_GROUP = "zoo.recipes"
LAYER = "plugin"
_said: set[str] = set()


@dataclass(frozen=True)
class Plugin:
    """One entry point. `distribution` has the version after the name; `problem` is why it is skipped, if it is."""

    group: str
    name: str
    value: str
    distribution: str
    registry: RegistryFile | None = None
    recipe: Origin | None = None
    problem: ZooError | None = None

    def broken(self, problem: ZooError) -> Plugin:
        """The same, adding nothing, because of `problem`."""
        return replace(self, registry=None, recipe=None, problem=problem)


def registries() -> list[Plugin]:
    """The plugins of the group ``zoo.registry``, by distribution and name; broken ones too."""
    return [_read(plugin, _read_registry) for plugin in _installed(REGISTRY_GROUP)]


def recipes() -> list[Plugin]:
    """The plugins of the group ``zoo.recipes``, by distribution and name; broken ones too. No recipe is read."""
    return [_read(plugin, _find_recipe) for plugin in _installed(RECIPE_GROUP)]


def sound(installed: Iterable[Plugin]) -> list[Plugin]:
    """Those of `installed` that can be used. Each of the others is one line on stderr, once in a process."""
    used = []
    for plugin in installed:
        if not plugin.problem:
            used.append(plugin)
        else:
            say_once(f"warning: plugin {plugin.name!r} of {plugin.distribution} is skipped: ", plugin.problem)
    return used


def say_once(*parts: str | ZooError) -> None:
    """One line of `parts`, once in a process: to stderr, unless a program that uses zoo says otherwise."""
    line = "".join(map(str, parts))
    if line not in _said and "_ZOO_COMPLETE" not in os.environ:  # a shell that completes a name shows what is printed
        import logging

        _said.add(line)
        logging.getLogger("zoo").warning("%s" * len(parts), *parts)


def _installed(group: str) -> list[Plugin]:
    return [plugin for plugin in _scan(tuple((entry, _changed(entry)) for entry in sys.path)) if plugin.group == group]


def _changed(entry: str) -> int:
    try:
        return Path(entry or ".").stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _scan(path: tuple[tuple[str, int], ...]) -> tuple[Plugin, ...]:
    """All entry points of both groups, as installed on `path`: ``sys.path`` with the times of its last changes."""
    from importlib import metadata

    by_package: dict[str, list[Plugin]] = {}
    for candidate in metadata.distributions():
        text = _entry_points_text(candidate)
        if not any(f"[{group}]" in text for group in (REGISTRY_GROUP, RECIPE_GROUP)):
            continue
        try:
            name = re.sub(r"[-_.]+", "-", candidate.name).lower()
            # Of two that are installed, the first on the path is the one that an import finds.
            by_package.setdefault(name, _plugins(name, metadata.distribution(candidate.name)))
        except Exception as problem:  # files that no installer wrote; their parser raises whatever it meets
            where = f"a package in {candidate.locate_file('')}"
            unread = RegistryError(f"its metadata cannot be read: {problem!r}")
            by_package[where] = [Plugin(REGISTRY_GROUP, "?", "", where).broken(unread)]
    return tuple(plugin for _, plugins in sorted(by_package.items()) for plugin in plugins)


def _plugins(name: str, distribution: Any) -> list[Plugin]:
    package = f"{name} {distribution.version}"
    points = [point for point in distribution.entry_points if point.group in (REGISTRY_GROUP, RECIPE_GROUP)]
    return [Plugin(point.group, point.name, point.value, package) for point in sorted(points, key=lambda p: p.name)]


def _entry_points_text(distribution: Any) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeDecodeError):  # of any package whatever: nothing that zoo could read
        return ""


def _read(plugin: Plugin, how: Callable[[Plugin], Plugin]) -> Plugin:
    if plugin.problem:
        return plugin
    try:
        with foreign(lambda problem: _raised(plugin, problem)):
            return how(plugin)
    except ZooError as problem:
        return plugin.broken(problem)


def _raised(plugin: Plugin, problem: BaseException) -> ZooError:
    return problem if isinstance(problem, ZooError) else RegistryError(f"{plugin.value}: {named(problem)}")


def _read_registry(plugin: Plugin) -> Plugin:
    if plugin.value.endswith((".yaml", ".yml")):
        file = read_registry_file(_file(plugin.value), LAYER, plugin.distribution)
    else:
        file = _imported(plugin)
    if file.builtin:
        raise RegistryError(f"{file.path}: builtin: true is for zoo's own registry; remove it")
    return replace(plugin, registry=file)


def _find_recipe(plugin: Plugin) -> Plugin:
    if not plugin.value.endswith(".yaml"):
        raise RegistryError(f"its value {plugin.value!r} is not package:name.yaml")
    path = _file(plugin.value)
    if path.stem != plugin.name:
        raise RegistryError(f"{path}: a recipe's name is its file's name; call the entry point {path.stem!r}")
    return replace(plugin, recipe=Origin(LAYER, path, 1, plugin.distribution))


def _file(value: str) -> Path:
    """The file ``package:name``. Only the top-level package is looked up, so that no code of it runs."""
    package, _, name = value.partition(":")
    top, *inner = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as problem:
        raise RegistryError(f"package {top!r} cannot be found: {problem}") from problem
    if spec is None:
        raise RegistryError(f"package {top!r} is not installed")
    if spec.submodule_search_locations is None:
        raise RegistryError(f"{top!r} is a module, not a package, so {name} cannot be in it")
    folders = [Path(folder, *inner) for folder in spec.submodule_search_locations]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise RegistryError(f"there is no {name} in {', '.join(map(str, folders))}")


def _imported(plugin: Plugin) -> RegistryFile:
    module_name, _, attribute = plugin.value.partition(":")
    module = import_anew(module_name)
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part)
    if isinstance(value, Path):
        return read_registry_file(value, LAYER, plugin.distribution)
    path = Path(getattr(module, "__file__", None) or module_name)
    if not isinstance(value, Mapping):
        raise RegistryError(
            f"{plugin.value}: expected a mapping of sections or a Path, found {yamlfile.type_name(value)}"
        )
    return registry_file(yamlfile.located(value, RegistryError, plugin.value), path, LAYER, plugin.distribution)
