"""A recipe as YAML, and what differs between two as text, Markdown or JSON."""

from __future__ import annotations

import json
from typing import Any

import yaml

from zoo.recipes.diff import differences
from zoo.render.document import as_json, document
from zoo.render.marks import marked, selection_notes
from zoo.results.recipe_source import DescribedRecipe


def as_yaml(recipe: DescribedRecipe) -> str:
    """`recipe` as a recipe file, with what a file does not say in comments: written to one, it is the same recipe, or
    the comments say that it is not.
    """
    content = {key: value for key, value in recipe.content.items() if key != "harness"}
    comments = [
        f"name: {recipe.name}",
        f"fingerprint: {recipe.fingerprint} (with harness {recipe.content['harness']})",
        *(f"runs in {precision}: {slug}" for precision, slug in recipe.resolved().items()),
        *selection_notes(recipe.selection_split),
        *(["made by an older zoo: this one takes it for another recipe, or refuses it"] if recipe.of_old else []),
    ]
    text = yaml.safe_dump(
        {"description": recipe.description, "dataset": recipe.dataset, **content},
        sort_keys=False, allow_unicode=True, width=120, default_flow_style=None,
    )  # fmt: skip
    return "".join(f"# {comment}\n" for comment in comments) + text


def as_differences(a: DescribedRecipe, b: DescribedRecipe, style: str) -> str:
    """What differs between `a` and `b` as ``text``, ``markdown`` or ``json``, ending in a newline."""
    changes = differences(a.content, b.content)
    if style == "json":
        record: dict[str, Any] = {
            side: {"name": recipe.name, "fingerprint": recipe.fingerprint, "selection": recipe.selection_split}
            for side, recipe in (("a", a), ("b", b))
        }
        return as_json(record | {"same_fingerprint": not changes, "differences": [vars(change) for change in changes]})
    notes = selection_notes(a.selection_split, b.selection_split)
    if not changes:
        same = marked(a.fingerprint[:8], a.selection_split)
        return "\n".join([f"same fingerprint {same}: nothing that can change accuracy differs", *notes]) + "\n"
    if any(change.key == "precision" and "auto" in (change.a, change.b) for change in changes):
        notes.insert(
            0, "precision auto is resolved on each machine before a run; a run's own recipe says fp32 or bf16."
        )
    heads = ["field", *(marked(recipe.slug, recipe.selection_split) for recipe in (a, b))]
    rows = [dict(zip(heads, (change.key, _cell(change.a), _cell(change.b)), strict=True)) for change in changes]
    return document(None, rows, notes, style, heads).rstrip("\n") + "\n"


def _cell(value: Any) -> str:
    """As a recipe file would say it; ``-`` where it is off."""
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
