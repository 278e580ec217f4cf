"""A recipe as YAML, and what differs between two as text, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from tabulate import tabulate

from zoo.recipes.diff import Difference, differences
from zoo.render.marks import TEST_MARK, TEST_NOTE
from zoo.results.recipe_source import DescribedRecipe


def as_yaml(given: DescribedRecipe) -> str:
    """`given` as a recipe file, with what a file does not say in comments: written to one, it is the same recipe, or
    the comments say that it is not.
    """
    content = {key: value for key, value in given.content.items() if key != "harness"}
    comments = [
        f"name: {given.name}",
        f"fingerprint: {given.fingerprint} (with harness {given.content['harness']})",
        *(f"runs in {precision}: {slug}" for precision, slug in given.resolved().items()),
        *([TEST_NOTE] if given.selects_on_test else []),
        *(["made by an older zoo: this one takes it for another recipe, or refuses it"] if given.of_old else []),
    ]
    text = yaml.safe_dump(
        {"description": given.description, "dataset": given.dataset, **content},
        sort_keys=False, allow_unicode=True, width=120, default_flow_style=None,
    )  # fmt: skip
    return "".join(f"# {comment}\n" for comment in comments) + text


def as_differences(a: DescribedRecipe, b: DescribedRecipe, style: str) -> str:
    """What differs between `a` and `b` in one of :data:`FORMATS`, ending in a newline."""
    return FORMATS[style](a, b, differences(a.content, b.content))


def _text(a: DescribedRecipe, b: DescribedRecipe, found: Sequence[Difference]) -> str:
    return _table(a, b, found, "simple")


def _markdown(a: DescribedRecipe, b: DescribedRecipe, found: Sequence[Difference]) -> str:
    return _table(a, b, found, "github")


def _json(a: DescribedRecipe, b: DescribedRecipe, found: Sequence[Difference]) -> str:
    told = {
        side: {"name": given.name, "fingerprint": given.fingerprint, "selection": given.selection_split}
        for side, given in (("a", a), ("b", b))
    }
    told |= {"same_fingerprint": not found, "differences": [vars(item) for item in found]}
    return json.dumps(told, indent=1) + "\n"


FORMATS: dict[str, Callable[[DescribedRecipe, DescribedRecipe, Sequence[Difference]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
}


def _table(a: DescribedRecipe, b: DescribedRecipe, found: Sequence[Difference], style: str) -> str:
    notes = [TEST_NOTE] if a.selects_on_test or b.selects_on_test else []
    if not found:
        same = f"same fingerprint {_marked(a, a.fingerprint[:8])}: nothing that can change accuracy differs"
        return "\n".join([same, *notes]) + "\n"
    if any(item.key == "precision" and "auto" in (item.a, item.b) for item in found):
        notes.insert(
            0, "precision auto is resolved on each machine before a run; a run's own recipe says fp32 or bf16."
        )
    headers = ["field", _marked(a, a.slug), _marked(b, b.slug)]
    rows = [(item.key, _cell(item.a), _cell(item.b)) for item in found]
    table = tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True)
    return "\n".join([table, *([""] * bool(notes)), *notes]) + "\n"


def _marked(given: DescribedRecipe, text: str) -> str:
    return f"{text} {TEST_MARK}" if given.selects_on_test else text


def _cell(value: Any) -> str:
    """As a recipe file would say it; ``-`` where it is off."""
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
