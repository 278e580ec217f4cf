"""The trial of a model before it is trained: one step, and what an answer looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zoo.builder.construct import where_of
from zoo.errors import RegistryError
from zoo.registry.model import Model

if TYPE_CHECKING:
    from torch import nn


def try_on(
    model: Model, module: nn.Module, image_shape: tuple[int, int, int], num_classes: int, smallest_batch: int = 2
) -> None:
    """A step of training and answers from a copy of `module`, built from `model`; (C, H, W) is `image_shape`.

    It trains on two images, and on one where that is the `smallest_batch` to come, and answers two and one alone.
    Raises :class:`RegistryError`, in one line, when that fails, does not give (2, `num_classes`), or shows that the
    model would be trained otherwise than the recipe says (:mod:`zoo.builder.fairness`).
    """
    import torch

    from zoo.builder import fairness

    where = where_of(model)
    fairness.check_module(where, module)
    images = torch.rand(2, *image_shape)

    def attempt(doing: Callable[[], Any], what: str, advice: str = "") -> Any:
        try:
            return doing()
        except Exception as problem:
            line = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise RegistryError(f"{where}: {what} of shape {image_shape}: {line}{advice}") from problem

    def check_shape(answer: Any, count: int) -> None:
        if tuple(getattr(answer, "shape", ())) != (count, num_classes):
            given = tuple(getattr(answer, "shape", ())) or type(answer).__name__
            asked = "two images" if count == 2 else "one image"
            raise RegistryError(f"{where}: answers {given} to {asked}, expected ({count}, {num_classes})")

    with fairness.untouched(where, "running"):
        twin, before, answer = attempt(lambda: fairness.step(module, images), "fails on images")
    check_shape(answer, 2)
    fairness.check_after(where, module, twin, before)
    with fairness.untouched(where, "running"), torch.no_grad():
        advice = "; its latency could not be measured"
        check_shape(attempt(lambda: twin(images[:1]), "answers two images, but fails on one", advice), 1)
    if smallest_batch == 1:
        with fairness.untouched(where, "running"):
            advice = "; a batch of one image comes up: set drop_last=true or another batch_size"
            attempt(lambda: fairness.step(module, images[:1]), "cannot be trained on one image", advice)
