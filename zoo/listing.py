"""What there is, as plain rows: for `zoo list` and for completion. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo import yamlfile
from zoo.entries import Origin
from zoo.errors import RecipeError
from zoo.registry import Model, Registry

RECIPES = Path(__file__).with_name("recipes")

# Beside every figure and every recipe that it is true of.
TEST_MARK = "†"
TEST_NOTE = f"{TEST_MARK} selection: test. The test set chooses the weights, so the accuracy is too high to compare."


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
    """Name and description of every built-in recipe, with a mark where the test set chooses the weights."""
    found = []
    for name in recipe_names():
        content = _read(name)
        mark = f" {TEST_MARK}" if _selection_split(content) == "test" else ""
        found.append((name, content["description"] + mark))
    return found


def _read(name: str) -> dict[str, Any]:
    return yamlfile.read(RECIPES / f"{name}.yaml", RecipeError).plain()


def _selection_split(content: dict[str, Any]) -> str:
    """Without :mod:`zoo.recipe`, whose pydantic takes longer to import than a list may take."""
    own = content.get("selection", {}).get("split")
    return own or _selection_split(_read(content["extends"]))
