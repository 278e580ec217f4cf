"""The metrics of one split, and how often each class was predicted for each."""

from __future__ import annotations

import functools
import itertools
import operator
import statistics
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import FailFast, Field, StrictInt, model_validator

from zoo.results import fields
from zoo.results.recipe_part import Part

MATRIX_CLASSES = 20  # of whose confusions a matrix can be read; of more it cannot, and the commonest pairs can
UNBALANCED = 1.5  # times as many images in the largest class as in the smallest


class Balance(NamedTuple):
    """Beside an accuracy on an unbalanced test set: the mean over classes of the share that is classified correctly,
    classes without an image left out (the mean of the recalls, as scikit-learn's ``balanced_accuracy_score``; Brodersen
    et al., 2010), and the share of images in the largest class.
    """

    accuracy: float
    largest_class: float

    @classmethod
    def of(cls, images: Sequence[int], recalls: Sequence[float | None]) -> Balance | None:
        """That of so many `images` of each class and the share of each that is right; None of a balanced set."""
        if not is_unbalanced(images):
            return None
        return cls(statistics.fmean(share for share in recalls if share is not None), max(images) / sum(images))


def is_unbalanced(images: Sequence[int]) -> bool:
    """Whether the `images` of each class differ by more than that, and by more than one; a class may have none."""
    largest, smallest = max(images), min(images)
    return largest > UNBALANCED * smallest and largest > smallest + 1


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
    confusion: Annotated[list[Annotated[list[StrictInt], FailFast()]], FailFast()]  # none below 0: see _adds_up
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
            total, hits = sum(map(sum, self.confusion)), sum(map(operator.getitem, self.confusion, itertools.count()))
        else:
            total, hits = self._of_pairs()
        if min(map(min, self.confusion)) < 0:
            raise ValueError("the confusion matrix has a number below 0")
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
