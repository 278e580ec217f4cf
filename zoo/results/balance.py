"""Whether a test set has as many images of each class, and what stands beside the accuracy where it has not."""

from __future__ import annotations

from collections.abc import Sequence

UNBALANCED = 1.5  # times as many images in the largest class as in the smallest


def is_unbalanced(images: Sequence[int]) -> bool:
    """Whether the `images` of each class differ by more than that, and by more than one; a class may have none."""
    largest, smallest = max(images), min(images)
    return largest > UNBALANCED * smallest and largest > smallest + 1
