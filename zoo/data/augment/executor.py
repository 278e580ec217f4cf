"""Which of the two executors carries out a list of transforms."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.data.augment.batched import BatchedAugment, NoBatchedForm
from zoo.data.augment.reference import ReferenceAugment
from zoo.data.augment.spec import TransformSpec
from zoo.errors import RecipeError, unknown

EXECUTORS = ("auto", "batched", "albumentations")
Augment = BatchedAugment | ReferenceAugment


def make_augment(specs: Sequence[TransformSpec], size: tuple[int, int], executor: str) -> Augment:
    """The transforms of :func:`zoo.data.augment.spec.parse`, ready to run on images of `size` (height, width).

    It depends on no random state, so loaders may share it. Raises :class:`zoo.errors.RecipeError` when the executor
    ``"batched"`` is asked for and a transform has no batched form.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS, "loader", f"use {', '.join(EXECUTORS)}")
    if executor != "albumentations":
        try:
            return BatchedAugment(specs, size)
        except NoBatchedForm as problem:
            if executor == "batched":
                raise RecipeError(f"executor 'batched': {problem}") from problem
    return ReferenceAugment(specs)
