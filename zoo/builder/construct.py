"""From registry entries to an ``nn.Module``: the only place that calls a builder."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zoo.builder import notes
from zoo.builder.arguments import Builder, arguments_for, check_signature, named_parameters, of_other_classes
from zoo.builder.norm import Norm, call_builder
from zoo.builder.shown import Sizes, materialise, show
from zoo.errors import RegistryError
from zoo.registry.entries import NormEntry, Origin
from zoo.registry.fingerprint import definition
from zoo.registry.importing import modules_of
from zoo.registry.locate import load_builder
from zoo.registry.model import BUILT_IN, Model, is_built_in
from zoo.registry.reach import remember, remembered
from zoo.utils.seeding import same_random_numbers

if TYPE_CHECKING:
    from torch import nn


SWAP = "zoo.models.swap:swap"  # named like any builder, since what knows models stands above what builds them

IMAGE_SIZE = (32, 32)


def build(
    model: Model, num_classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] = IMAGE_SIZE
) -> nn.Module:
    """The module for (N, `in_channels`, H, W) images, answering (N, `num_classes`) logits.

    `image_size` is (H, W); it matters only to what names it and to what has to be shown an image before it can be
    built: swapped norms, lazy modules, norms that name `spatial_size`.
    Raises :class:`RegistryError`, in one line, when a builder's module or function does not exist, its module fails
    on import, it does not accept the arguments that its entry gives, or it changes torch's global state.
    """
    from zoo.builder.fairness import untouched

    for what, number in (("num_classes", num_classes), ("in_channels", in_channels)):
        if number < 1:
            raise RegistryError(f"model {model.name!r}: {what} is {number}; it is at least 1")
    with untouched(where_of(model), "building"):
        module = _build(model, num_classes, in_channels, image_size)
        materialise(where_of(model), module, (in_channels, *image_size))
        started = False
        if model.swapped and model.norm:
            with contextlib.suppress(RegistryError):  # the file may be of the model before the swap, or after it
                started = _start(model, module, num_classes)
            swap = load_builder(SWAP, "the swap", Origin("built in", BUILT_IN, 0))
            plain, norm = model.name.rpartition("@")[0], load_norm(model.norm)
            notes.add(module, f"norms: {swap(plain, module, norm, (in_channels, *image_size))}")
    remember(model, num_classes, module.modules())
    if not started:
        _start(model, module, num_classes)
    return module


def _start(model: Model, module: nn.Module, num_classes: int) -> bool:
    """Load the weights that `model` starts from, if any; raises :class:`RegistryError` where they do not fit."""
    if not (model.pretrained and model.pretrained.path):
        return False
    from zoo.builder.weights import load

    path, digest = model.pretrained.path, model.pretrained.sha256
    notes.add(module, *(f"weights {digest[:8]}: {line}" for line in load(module, path, digest, num_classes)))
    return True


def _build(model: Model, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    sizes: dict[str, object] = {"num_classes": num_classes, "in_channels": in_channels}
    builder, where, kwargs, names = _builder(model)
    if "spatial_size" in names or "spatial_size" in named_parameters(builder):
        sizes["spatial_size"] = image_size
    norm = load_norm(model.norm) if model.norm and not model.swapped else None

    part = model.architecture or model.entry or model
    # Entered once, not for each norm: zoo's own code imports nothing that a folder could hide.
    folder = norm.folder if norm and is_built_in(part.origin) else part.origin.folder

    def make(norm: Norm | None) -> nn.Module:
        certain, optional = arguments_for(builder, where, kwargs, names, sizes, **({"norm": norm} if norm else {}))
        check_signature(builder, where, **certain)
        with modules_of(folder):
            return call_builder(builder, where, optional=optional, **certain)

    if norm and norm.names("spatial_size"):
        norm = replace(norm, sizes=(read := Sizes(norm.where, image_size)))
        with same_random_numbers():
            show(where, make(norm), (in_channels, *image_size))
        read.made = 0
    module = make(norm)
    if norm:
        norm.check_used(where)
    return module


def _builder(model: Model) -> tuple[Builder, str, dict[str, Any], dict[str, str]]:
    """The builder of `model`, its place for messages, the arguments of its entry, and its own names for zoo's."""
    part = model.architecture or model.entry
    if part is None:
        raise RegistryError(f"model {model.name!r} has no builder")
    what = f"{'architecture' if model.architecture and not model.swapped else 'model'} {part.name!r}"
    kwargs = {**part.kwargs, **(model.entry.kwargs if model.entry else {})}
    builder = load_builder(part.builder, what, part.origin)
    return builder, f"{what} ({part.origin}): {part.builder}", kwargs, part.arguments


def other_classes(model: Model, outputs: int, num_classes: int) -> str:
    """What a message adds where `model` was built for `num_classes` classes and has `outputs` logits."""
    builder, _, kwargs, names = _builder(model)
    return of_other_classes(builder, kwargs, names, outputs, num_classes)


def where_of(model: Model) -> str:
    """The model, its origin and its label, for messages."""
    return f"model {model.name!r} ({model.origin}): {model.label}"


def load_norm(entry: NormEntry) -> Norm:
    """The :class:`Norm` of `entry`, its builder imported and its arguments checked against the builder's signature."""
    what = f"norm {entry.name!r}"
    where = f"{what} ({entry.origin}): {entry.builder}"
    builder = load_builder(entry.builder, what, entry.origin)
    conv = load_builder(entry.conv, what, entry.origin) if entry.conv else None
    kwargs, _ = arguments_for(builder, where, entry.kwargs, entry.arguments, {})
    norm = Norm(
        entry.name, builder, kwargs, entry.activation == "included", conv, where, entry.arguments, entry.origin.folder
    )
    args, named = norm.call_with(64, apply_act=True, branch_end=False, spatial_size=(1, 1))
    check_signature(builder, where, *args, **named)
    return norm


def definition_of(model: Model, num_classes: int) -> dict[str, Any]:
    """The :func:`~zoo.registry.fingerprint.definition` of `model` for so many classes, built here where it was not yet.

    No random number is drawn, and what is built in is not built. Of a model that cannot be built it is what its
    builders import: whoever trains or evaluates it reports why.
    """
    if remembered(model, num_classes) is None:
        import torch

        with torch.random.fork_rng(devices=[]), contextlib.suppress(RegistryError):
            build(model, num_classes)
    return definition(model, remembered(model, num_classes) or ())
