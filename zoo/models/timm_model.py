"""Models of timm, without pretrained weights, made fit for 32x32 images."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo.models.stem import for_small_images


def timm_model(name: str, *, stem_rule: int, num_classes: int, in_channels: int) -> nn.Module:
    """The model that timm calls `name`, (N, `in_channels`, 32, 32) to (N, `num_classes`).

    Library: timm. Raises :class:`zoo.errors.RegistryError` where it cannot be made fit for such images.
    """
    return build(f"timm:{name}", name, {}, stem_rule, num_classes, in_channels)


def build(
    what: str, name: str, arguments: dict[str, Any], stem_rule: int, num_classes: int, in_channels: int
) -> nn.Module:
    """The same; `arguments` are timm's, and `what` names the model in messages."""
    import timm

    def make(size: int) -> nn.Module:
        options = {"pretrained": False, "num_classes": num_classes, "in_chans": in_channels, **arguments}
        try:
            return timm.create_model(name, img_size=size, **options)
        except TypeError as problem:
            if "img_size" not in str(problem):
                raise
        return timm.create_model(name, **options)  # takes images of any size

    return for_small_images(what, make, stem_rule, num_classes, in_channels)
