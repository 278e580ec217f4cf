"""Norms that are the same function in some layers of an architecture, as GroupNorm of few channels is LayerNorm.

``alike.json`` has the built-in ones as :mod:`zoo.builder.alike` finds them, for what imports no torch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("alike.json")


def key(part: Mapping[str, Any]) -> str:
    """An architecture or a norm by what it is in a definition: a name may mean something else elsewhere."""
    return json.dumps([part.get("builder"), part.get("kwargs"), part.get("conv") or ""], sort_keys=True)


def alike(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """A sentence on each two norms that `pairs`, of architecture and norm, have in one architecture."""
    names: dict[str, str] = {}
    norms: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        architecture, norm = map(key, pair)
        names |= {architecture: pair[0]["name"], norm: pair[1]["name"]}
        norms[architecture].add(norm)
    counts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for architecture, norm, other, same, layers in json.loads(FILE.read_text(encoding="utf-8")):
        if {norm, other} <= norms[architecture]:
            counts[names[norm], names[other]].append(f"{same} of {layers} norm layers of {names[architecture]}")
    return [sentence(norm, other, places) for (norm, other), places in counts.items()]


def sentence(norm: str, other: str, places: Sequence[str]) -> str:
    """``gn is the same function as ln in 7 of 19 norm layers of resnet20.``"""
    return f"{norm} is the same function as {other} in {', '.join(places)}."
