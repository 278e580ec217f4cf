"""Models of timm, without pretrained weights, made fit for 32x32 images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from zoo.builder import notes
from zoo.errors import RegistryError
from zoo.models.stem import for_small_images
from zoo.registry.external import STEM_RULE

if TYPE_CHECKING:
    from zoo.builder.norm import Norm


def timm_model(name: str, *, stem_rule: int, num_classes: int, in_channels: int, norm: Norm | None = None) -> nn.Module:
    """The model that timm calls `name`, (N, `in_channels`, 32, 32) to (N, `num_classes`), its norms swapped for `norm`.

    Library: timm. Raises :class:`RegistryError` where it cannot be made fit for such images, or its norms not swapped.
    """
    module = build(f"timm:{name}", name, {}, stem_rule, num_classes, in_channels)
    return with_norm(f"timm:{name}", module, norm, in_channels)


def build(
    what: str, name: str, arguments: dict[str, Any], stem_rule: int, num_classes: int, in_channels: int
) -> nn.Module:
    """The same with timm's own norms; `arguments` are timm's, and `what` names the model in messages."""
    import timm

    check_rule(what, stem_rule)

    def make(size: int) -> nn.Module:
        options = {"pretrained": False, "num_classes": num_classes, "in_chans": in_channels, **arguments}
        try:
            return timm.create_model(name, img_size=size, **options)
        except TypeError as problem:
            if "img_size" not in str(problem):
                raise
        return timm.create_model(name, **options)  # takes images of any size

    module, changes = for_small_images(what, make, num_classes, in_channels)
    return with_changes(module, changes)


def check_rule(what: str, stem_rule: int) -> None:
    """Raise :class:`RegistryError` for a rule that this zoo does not follow."""
    if stem_rule != STEM_RULE:
        raise RegistryError(f"{what}: was built by stem rule {stem_rule}, this zoo follows rule {STEM_RULE}")


def with_changes(module: nn.Module, changes: list[str]) -> nn.Module:
    """`module`, which remembers how its stem was changed."""
    notes.add(module, f"stem for 32x32: {'; '.join(changes) if changes else 'as it is'}")
    return module


def with_norm(what: str, module: nn.Module, norm: Norm | None, in_channels: int) -> nn.Module:
    """`module` with its norms swapped for `norm`, unless that is None."""
    if norm is not None:
        from zoo.models.swap import swap

        notes.add(module, f"norms: {swap(what, module, norm, in_channels)}")
    return module
