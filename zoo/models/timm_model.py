"""Models of timm, without pretrained weights, made fit for 32x32 images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from zoo.builder import notes
from zoo.models.stem import for_small_images

if TYPE_CHECKING:
    from zoo.builder.norm import Norm


def timm_model(name: str, *, stem_rule: int, num_classes: int, in_channels: int, norm: Norm | None = None) -> nn.Module:
    """The model that timm calls `name`, (N, `in_channels`, 32, 32) to (N, `num_classes`), its norms swapped for `norm`.

    Library: timm. Raises :class:`zoo.errors.RegistryError` where it cannot be made fit, or its norms not swapped.
    """
    module = build(f"timm:{name}", name, {}, stem_rule, num_classes, in_channels)
    return with_norm(f"timm:{name}", module, norm, in_channels)


def build(
    what: str, name: str, arguments: dict[str, Any], stem_rule: int, num_classes: int, in_channels: int
) -> nn.Module:
    """The same with timm's own norms; `arguments` are timm's, and `what` names the model in messages."""
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


def with_norm(what: str, module: nn.Module, norm: Norm | None, in_channels: int) -> nn.Module:
    """`module` with its norms swapped for `norm`, unless that is None."""
    if norm is not None:
        from zoo.models.swap import swap

        notes.add(module, f"norms: {swap(what, module, norm, in_channels)}")
    return module
