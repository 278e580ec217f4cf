"""Checkpoints of timm models in a local folder, as timm and the hub write them: config.json and model.safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from zoo.builder import notes
from zoo.builder.weights import WEIGHTS, load
from zoo.models.timm_model import build


def hub_folder(
    folder: Path,
    *,
    sha256: str,
    architecture: str,
    arguments: dict[str, Any],
    stem_rule: int,
    num_classes: int,
    in_channels: int,
) -> nn.Module:
    """timm's `architecture` with the weights of `folder`, whose SHA-256 is given, (N, `in_channels`, 32, 32) to logits.

    The stem is changed first, then the weights are loaded (the rule of :func:`zoo.builder.weights.load`).
    Raises :class:`zoo.errors.RegistryError` where the weights do not fit, and as ``timm_model`` does.
    """
    what = f"hub-folder:{folder.name}"
    module = build(what, architecture, arguments, stem_rule, num_classes, in_channels)
    taken = load(module, folder / WEIGHTS, sha256, num_classes)
    notes.add(module, *(f"weights of {folder.name}: {line}" for line in taken))
    return module
