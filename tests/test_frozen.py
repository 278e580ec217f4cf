"""What refactoring must not change: fingerprints of recipes, definitions of models, comparisons of stored results.

``frozen.json`` has the recorded values. Recipes and models that are added later need not be in it. After a change that
is meant to alter what is recorded, or after new results, write it anew; CHANGELOG.md says what changed and why::

    python tests/test_frozen.py
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zoo.recipes.catalogue import recipe_names
from zoo.recipes.load import load_recipe
from zoo.registry.entries import read_registry_file
from zoo.registry.fingerprint import definition
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).with_name("frozen.json")
COMPARE = ("compare", "benchmarks/results", "benchmarks/studies", "--format", "json")


def sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def recipes() -> dict[str, str]:
    """The fingerprint of each built-in recipe in fp32 and in bf16."""
    return {
        f"{name} {precision}": load_recipe(name).with_precision(precision).fingerprint
        for name in recipe_names()
        for precision in ("fp32", "bf16")
    }


def definitions() -> dict[str, str]:
    """The hash of each built-in model's definition, every pair of architecture and norm."""
    registry = Registry([read_registry_file(BUILT_IN, "built in")])
    return {name: sha256(definition(registry.resolve(name))) for name in sorted(registry.names())}


def comparison() -> str:
    """The hash of what ``zoo compare`` prints of the committed results.

    Floats are rounded to 9 digits: the last ones depend on the version of scipy.
    """
    command = [sys.executable, "-m", "zoo", *COMPARE]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return sha256(json.loads(printed, parse_float=lambda number: f"{float(number):.9g}"))


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "count"), [(recipes, 10), (definitions, 280)])
def test_fingerprints_stay(recorded: dict[str, Any], kind: Any, count: int) -> None:
    before, now = recorded[kind.__name__], kind()
    assert len(before) >= count
    assert {name: now.get(name) for name in before} == before


def test_comparison_of_the_committed_results_stays(recorded: dict[str, Any]) -> None:
    assert comparison() == recorded["compare"]


if __name__ == "__main__":
    record = {"recipes": recipes(), "definitions": definitions(), "compare": comparison()}
    RECORDED.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
