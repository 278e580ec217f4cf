"""In how many layers of a model another norm would be the same function, as GroupNorm of few channels is LayerNorm."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from zoo.builder.construct import load_norm
from zoo.builder.norm import ASKED, Asked, Norm
from zoo.registry.entries import NormEntry
from zoo.utils.seeding import same_random_numbers

SIDE = 8  # of the images that two layers are compared on, where their size is of no matter


def alike(module: nn.Module, norm: NormEntry, others: Iterable[NormEntry]) -> tuple[int, dict[str, int]]:
    """The norm layers of `module`, which was built with `norm`; and of each of `others` how many would be the same.

    A norm with another convolution is never the same. Names of norms without a layer in common are left out.
    """
    asked = Counter(vars(layer)[ASKED] for layer in module.modules() if ASKED in vars(layer))
    own, same = load_norm(norm), dict[str, int]()
    for entry in others:
        if entry.name == norm.name or entry.conv != norm.conv:
            continue
        with contextlib.suppress(Exception), same_random_numbers():  # what fails here is reported where it is used
            other = load_norm(entry)
            same[entry.name] = sum(count for call, count in asked.items() if _same(own, other, call))
    return asked.total(), {name: count for name, count in same.items() if count}


def _same(norm: Norm, other: Norm, asked: Asked) -> bool:
    """Whether two norms make layers of one kind, with equal settings, that answer the same.

    Running statistics may part layers later that begin alike, so that equal answers are not enough.
    """
    size = asked.spatial_size
    first, second = (
        make(asked.num_channels, apply_act=asked.apply_act, branch_end=asked.branch_end, spatial_size=size)
        for make in (norm, other)
    )
    images = torch.randn(2, asked.num_channels, *(size if size != (1, 1) else (SIDE, SIDE)))
    return _kind(first) == _kind(second) and torch.allclose(first(images), second(images), atol=1e-5)


def _kind(layer: nn.Module) -> tuple[object, ...]:
    if isinstance(layer, nn.GroupNorm):
        return nn.GroupNorm, layer.num_groups, layer.eps, layer.affine
    return type(layer), repr(layer)
