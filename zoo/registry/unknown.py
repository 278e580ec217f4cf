"""What is wrong with the name of a model, and the nearest right ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from zoo.errors import UnknownNameError, unknown
from zoo.utils.text import listed


def unknown_model(
    name: str, architectures: Collection[str], norms: Collection[str], models: Iterable[str], where: str
) -> UnknownNameError:
    """Which half of `name` is wrong, or missing, where one half is right; else the nearest of all `models`.

    `where`: the files that were read.
    """
    parts = (
        ("an architecture", architectures, norms, f"{name}_{{}}"),
        ("a norm", norms, architectures, f"{{}}_{name}"),
    )
    for kind, names, others, pair in parts:
        if name in names:
            return UnknownNameError(
                f"{name!r} is the name of {kind}; a model is an architecture with a norm: "
                f"{listed([pair.format(other) for other in others])}; `zoo list '{pair.format('*')}'` shows them all"
            )
    for position in reversed([i for i, character in enumerate(name) if character == "_"]):
        architecture, norm = name[:position], name[position + 1 :]
        if architecture in architectures:
            pairs = [f"{architecture}_{other}" for other in norms]
            return unknown("model", name, pairs, where, f"{architecture} takes: {', '.join(norms)}")
        if norm in norms:
            pairs = [f"{other}_{norm}" for other in architectures]
            return unknown("model", name, pairs, where, f"architectures: {', '.join(architectures)}")
    return unknown("model", name, models, where, "`zoo list` shows the names")
