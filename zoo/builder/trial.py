"""The trial of a model before it is trained: one step, and what an answer looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from zoo.builder import fairness
from zoo.builder.construct import other_classes, where_of
from zoo.errors import Option, RegistryError, Words
from zoo.registry.entries import Layout
from zoo.registry.model import Model

T = TypeVar("T")


def try_on(
    model: Model,
    module: nn.Module,
    image_shape: tuple[int, int, int],
    num_classes: int,
    smallest_batch: int = 2,
    layout: Layout = "nchw",
) -> None:
    """A step of training and answers from a copy of `module`, built from `model`; (C, H, W) is `image_shape`.

    It trains on two images, also in the memory `layout` of the run, and on one where that is the `smallest_batch` to
    come, and answers two and one alone.
    Raises :class:`RegistryError`, in one line, when that fails, does not give (2, `num_classes`), or shows that the
    model would be trained otherwise than the recipe says (:mod:`zoo.builder.fairness`).
    """
    where = where_of(model)
    images = torch.rand(2, *image_shape)

    def attempt(doing: Callable[[], T], what: str, *advice: Words) -> T:
        try:
            return doing()
        except RegistryError:
            raise
        except Exception as problem:
            line = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise RegistryError(f"{where}: {what} of shape {image_shape}: {line}", *advice) from problem

    def check_shape(output: object, count: int) -> None:
        shape = tuple(getattr(output, "shape", ()))
        if shape != (count, num_classes):
            asked = "two images" if count == 2 else "one image"
            other = len(shape) == 2 and shape[0] == count
            raise RegistryError(
                f"{where}: answers {shape or type(output).__name__} to {asked}, expected ({count}, {num_classes})"
                f"{other_classes(model, shape[1], num_classes) if other else ''}"
            )

    twin, output = attempt(lambda: fairness.check_step(where, module, images), "fails on images")
    check_shape(output, 2)
    with fairness.untouched(where, "running"), torch.no_grad():
        advice = "; its latency could not be measured"
        check_shape(attempt(lambda: twin(images[:1]), "answers two images, but fails on one", advice), 1)
    if layout == "channels_last":
        moved = images.contiguous(memory_format=torch.channels_last)
        advised = ("; write `layout: nchw` in its entry of the registry, or give ", Option("layout", "nchw"))
        attempt(lambda: fairness.check_step(where, module, moved), "fails in channels-last on images", *advised)
    if smallest_batch == 1:
        advice = "; a batch of one image comes up: set drop_last=true or another batch_size"
        attempt(lambda: fairness.check_step(where, module, images[:1]), "cannot be trained on one image", advice)
