"""Classification models of torchvision, without pretrained weights, made fit for 32x32 images."""

from __future__ import annotations

from functools import partial

from torch import nn

from zoo.models.stem import FACTOR, IMAGE, for_small_images


def torchvision_model(name: str, *, stem_rule: int, num_classes: int, in_channels: int) -> nn.Module:
    """The model that torchvision calls `name`, (N, 3, 32, 32) to (N, `num_classes`).

    Auxiliary classifiers are left out, since only one answer is trained; `in_channels` is 3 in all of these models.
    Library: torchvision. Raises :class:`zoo.errors.RegistryError` where it cannot be made fit for such images.
    """
    make = partial(_make, name, num_classes)
    return for_small_images(f"torchvision:{name}", make, stem_rule, num_classes, in_channels)


def _make(name: str, num_classes: int, size: int) -> nn.Module:
    from torchvision import models

    arguments: dict[str, object] = {"weights": None, "num_classes": num_classes}
    if name == "maxvit_t":
        return _maxvit(num_classes)
    if name.startswith("vit_"):
        arguments["image_size"] = size
    if name in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": True}
    model: nn.Module = models.get_model(name, **arguments)
    return model


def _maxvit(num_classes: int) -> nn.Module:
    """maxvit_t with windows of 4, since 7, which torchvision fixes, divides no map of a 128x128 image."""
    from torchvision.models.maxvit import MaxVit

    model: nn.Module = MaxVit(
        input_size=(FACTOR * IMAGE, FACTOR * IMAGE), stem_channels=64, partition_size=4, num_classes=num_classes,
        block_channels=[64, 128, 256, 512], block_layers=[2, 2, 5, 2], head_dim=32, stochastic_depth_prob=0.2,
    )  # fmt: skip
    return model
