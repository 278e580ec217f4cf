"""Whether a test set has as many images of each class, and what stands beside the accuracy where it has not."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

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
