"""What differs between two recipes, field by field; both as :meth:`zoo.recipes.recipe.Recipe.canonical` gives them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard


@dataclass(frozen=True)
class Difference:
    """One field, by its dotted key, in two recipes; None where it is off."""

    key: str
    a: Any
    b: Any


def flatten(content: dict[str, Any]) -> dict[str, Any]:
    """`content` with dotted keys: ``optimizer.lr``, ``augment.train[2].Cutout.max_h_size``.

    A list of plain values (``optimizer.betas``) is one value, and so is a mapping or list that is empty.
    """
    return dict(_leaves("", content)) if content else {}


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """The fields in which `a` and `b` differ; empty exactly where their fingerprints are equal.

    Transforms are matched by class and in order, so that one left out does not shift those after it. A key has the
    position in `a`, or in `b` where only `b` has the transform.
    """
    return list(_compare("", a, b))


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}" if key else name, item)
    elif value and _is_steps(value):
        for position, item in enumerate(value):
            yield from _leaves(f"{key}[{position}]", item)
    else:
        yield key, value


def _compare(key: str, a: Any, b: Any) -> Iterator[Difference]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in dict.fromkeys((*a, *b)):
            inner = f"{key}.{name}" if key else name
            if name not in b:
                yield from (Difference(leaf, value, None) for leaf, value in _leaves(inner, a[name]))
            elif name not in a:
                yield from (Difference(leaf, None, value) for leaf, value in _leaves(inner, b[name]))
            else:
                yield from _compare(inner, a[name], b[name])
    elif _is_steps(a) and _is_steps(b):
        yield from _compare_steps(key, a, b)
    elif json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):  # in Python 1 == True
        yield Difference(key, a, b)


def _compare_steps(key: str, a: list[dict[str, Any]], b: list[dict[str, Any]]) -> Iterator[Difference]:
    before, after = ([next(iter(step)) for step in steps] for steps in (a, b))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, a_start, a_end, b_start, b_end in matcher.get_opcodes():
        if kind == "equal":
            for i, j in zip(range(a_start, a_end), range(b_start, b_end), strict=True):
                yield from _compare(f"{key}[{i}]", a[i], b[j])
            continue
        for i in range(a_start, a_end):
            yield from (Difference(leaf, value, None) for leaf, value in _leaves(f"{key}[{i}]", a[i]))
        for j in range(b_start, b_end):
            yield from (Difference(leaf, None, value) for leaf, value in _leaves(f"{key}[{j}]", b[j]))


def _is_steps(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether this is a list of transforms, which may be empty: mappings of one class name to its arguments."""
    return isinstance(value, list) and all(isinstance(step, dict) and len(step) == 1 for step in value)
