"""The metrics of one split, and how often each class was predicted for each."""

from __future__ import annotations

import functools
import itertools
from typing import Annotated

from pydantic import FailFast, Field, model_validator

from zoo.results import fields
from zoo.results.balance import Balance
from zoo.results.recipe_part import Part

MATRIX_CLASSES = 20  # of whose confusions a matrix can be read; of more it cannot, and the commonest pairs can


class Metrics(Part):
    """Of one split; shares from 0 to 1, losses in nats.

    `confusion`: a row for each label, a column for each prediction. Of more than :data:`MATRIX_CLASSES` classes it is
    (label, prediction, count) of all pairs that occur, in ascending order, where these are fewer numbers.
    :attr:`counts` reads both.
    `ece`: 15 equal bins (Guo, 2017). `brier`: squared error of the probabilities, summed over classes, 0 to 2 (Brier,
    1950). `top5_accuracy` is None where there are five classes or fewer. `extra`: other metrics by their names.
    """

    images: fields.Count
    correct: fields.Whole
    accuracy: fields.Share
    top5_accuracy: fields.Share | None
    loss: fields.Loss
    per_class_accuracy: Annotated[list[fields.Share | None], FailFast()]
    confusion: Annotated[list[Annotated[list[fields.Whole], FailFast()]], FailFast()]
    ece: fields.Loss
    brier: fields.Loss | None
    extra: dict[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")], fields.Number | None] = Field(
        default_factory=dict
    )

    @property
    def _is_dense(self) -> bool:
        classes = len(self.per_class_accuracy)
        return len(self.confusion) == classes and set(map(len, self.confusion)) == {classes}

    @property
    def counts(self) -> list[tuple[int, int, int]]:
        """(label, prediction, count) of all pairs that occur, in ascending order."""
        if not self._is_dense:
            return [(label, predicted, count) for label, predicted, count in self.confusion]
        rows = enumerate(self.confusion)
        return [(label, predicted, count) for label, row in rows for predicted, count in enumerate(row) if count]

    @property
    def images_by_class(self) -> list[int]:
        """How many images have each label."""
        if self._is_dense:
            return list(map(sum, self.confusion))
        images = [0] * len(self.per_class_accuracy)
        for label, _, count in self.confusion:
            images[label] += count
        return images

    @functools.cached_property
    def balance(self) -> Balance | None:
        """What stands beside the accuracy where the classes have unlike numbers of images; None where they have not."""
        return Balance.of(self.images_by_class, self.per_class_accuracy)

    @model_validator(mode="after")
    def _adds_up(self) -> Metrics:
        if self._is_dense:
            total, hits = sum(map(sum, self.confusion)), sum(row[label] for label, row in enumerate(self.confusion))
        else:
            total, hits = self._of_pairs()
        if (total, hits) != (self.images, self.correct):
            raise ValueError(
                f"{self.correct} correct of {self.images} images, but the confusion matrix says {hits} of {total}"
            )
        if abs(self.accuracy - self.correct / self.images) > 1e-12:
            raise ValueError(f"accuracy {self.accuracy}, but {self.correct} of {self.images} images are correct")
        return self

    def _of_pairs(self) -> tuple[int, int]:
        """How many images and hits the pairs count. Raises ValueError where they are none of these classes."""
        if set(map(len, self.confusion)) != {3}:
            raise ValueError("the confusion matrix has other classes than its own columns or the accuracies by class")
        pairs = [(label, predicted) for label, predicted, _ in self.confusion]
        if any(before >= after for before, after in itertools.pairwise(pairs)):
            raise ValueError("the confusion matrix has pairs of classes twice, or in another order")
        if max(map(max, pairs)) >= len(self.per_class_accuracy):
            raise ValueError("the confusion matrix has other classes than the accuracies by class")
        hits = sum(count for label, predicted, count in self.confusion if label == predicted)
        return sum(pair[2] for pair in self.confusion), hits
