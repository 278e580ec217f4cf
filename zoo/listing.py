"""What there is, as plain rows: for `zoo list` and for completion. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo import yamlfile
from zoo.entries import Origin
from zoo.errors import RecipeError
from zoo.registry import Model, Registry

RECIPES = Path(__file__).with_name("recipes")


def norms(registry: Registry) -> list[tuple[str, str, Origin]]:
    """Name, label and origin of every norm."""
    return [(entry.name, entry.label or entry.builder, entry.origin) for entry in registry.norms.values()]


def architectures(registry: Registry) -> list[tuple[str, str, Origin]]:
    """Name, label and origin of every architecture."""
    return [(entry.name, entry.label or entry.builder, entry.origin) for entry in registry.architectures.values()]


def models(found: Sequence[Model]) -> list[tuple[str, str, Origin]]:
    """Name, label and origin of the given models."""
    return [(model.name, model.label, model.origin) for model in found]


def recipe_names() -> list[str]:
    """The built-in recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipes() -> list[tuple[str, str]]:
    """Name and description of every built-in recipe."""
    return [
        (path.stem, yamlfile.read(path, RecipeError).plain()["description"]) for path in sorted(RECIPES.glob("*.yaml"))
    ]
