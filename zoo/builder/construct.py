"""From registry entries to an ``nn.Module``: the only place that calls a builder."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from zoo.builder import notes
from zoo.builder.norm import Norm, call_builder
from zoo.errors import RegistryError
from zoo.registry.entries import NormEntry, Origin
from zoo.registry.locate import load_builder
from zoo.registry.model import BUILT_IN, Model

if TYPE_CHECKING:
    from torch import nn


SWAP = "zoo.models.swap:swap"  # named like any builder, since what knows models stands above what builds them

IMAGE_SIZE = (32, 32)


def build(
    model: Model, num_classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] = IMAGE_SIZE
) -> nn.Module:
    """The module for (N, `in_channels`, H, W) images, answering (N, `num_classes`) logits.

    `image_size` is (H, W); it matters only to what has to be shown an image before it can be built (swapped norms).
    Raises :class:`RegistryError`, in one line, when a builder's module or function does not exist, its module fails
    on import, it does not accept the arguments that its entry gives, or it changes torch's global state.
    """
    from zoo.builder.fairness import untouched

    for what, number in (("num_classes", num_classes), ("in_channels", in_channels)):
        if number < 1:
            raise RegistryError(f"model {model.name!r}: {what} is {number}; it is at least 1")
    with untouched(where_of(model), "building"):
        module = _build(model, num_classes, in_channels)
        if model.swapped and model.norm:
            swap = load_builder(SWAP, "the swap", Origin("built in", BUILT_IN, 0))
            plain, norm = model.name.rpartition("@")[0], load_norm(model.norm)
            notes.add(module, f"norms: {swap(plain, module, norm, (in_channels, *image_size))}")
    if model.pretrained and model.pretrained.path:
        from zoo.builder.weights import load

        path, digest = model.pretrained.path, model.pretrained.sha256
        notes.add(module, *(f"weights {digest[:8]}: {line}" for line in load(module, path, digest, num_classes)))
    return module


def _build(model: Model, num_classes: int, in_channels: int) -> nn.Module:
    size = {"num_classes": num_classes, "in_channels": in_channels}
    entry, architecture, norm = model.entry, model.architecture, model.norm
    own = entry.kwargs if entry else {}
    if architecture:
        kind = "model" if model.swapped else "architecture"
        what, origin, path = f"{kind} {architecture.name!r}", architecture.origin, architecture.builder
    else:
        what, origin, path = f"model {model.name!r}", model.origin, entry.builder if entry else ""
    builder = load_builder(path, what, origin)
    where = f"{what} ({origin}): {path}"
    arguments: dict[str, object] = {**(architecture.kwargs if architecture else {}), **own, **size}
    if architecture and norm and not model.swapped:
        arguments = {"norm": load_norm(norm), **size, **architecture.kwargs, **own}
    _check_signature(builder, where, **arguments)
    return call_builder(builder, where, **arguments)


def where_of(model: Model) -> str:
    """The model, its origin and its label, for messages."""
    return f"model {model.name!r} ({model.origin}): {model.label}"


def load_norm(entry: NormEntry) -> Norm:
    """The :class:`Norm` of `entry`, its builder imported and its arguments checked against the builder's signature."""
    what = f"norm {entry.name!r}"
    where = f"{what} ({entry.origin}): {entry.builder}"
    builder = load_builder(entry.builder, what, entry.origin)
    included = entry.activation == "included"
    optional = {"apply_act": True} if included else {}
    _check_signature(builder, where, 64, **entry.kwargs, **optional)
    conv = load_builder(entry.conv, what, entry.origin) if entry.conv else None
    return Norm(entry.name, builder, entry.kwargs, included, conv, where)


def _check_signature(builder: Callable[..., object], where: str, *args: object, **kwargs: object) -> None:
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # a builtin without a signature: the call itself will fail
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as problem:
        names = ", ".join([*("num_channels" for _ in args), *kwargs])
        raise RegistryError(f"{where}{signature} cannot be called with ({names}): {problem}") from problem
