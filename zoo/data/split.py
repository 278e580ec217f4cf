"""Stratified choices of training images: the part that is held out for every decision, and smaller training sets."""

from __future__ import annotations

import numpy as np

from zoo.errors import DataError
from zoo.utils.seeding import derive

SUBSET_SEED = 0  # --limit takes the same images whatever the run


def stratified_holdout(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train_idx, holdout_idx): `count` images held out of `labels` (N,), the same share of every class to within one.

    Both are sorted, disjoint int64 indices and cover 0..N-1 together; equal arguments give equal indices anywhere.
    Raises DataError unless 0 <= count < N.
    """
    if not 0 <= count < len(labels):
        raise DataError(
            f"cannot hold out {count} of {len(labels)} training images; choose 0 to {max(len(labels) - 1, 0)}"
        )
    chosen = _choose(labels, count, derive("holdout", seed))
    return np.flatnonzero(~chosen).astype(np.int64), np.flatnonzero(chosen).astype(np.int64)


def stratified_subset(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` indices into `labels` (N,), sorted int64, the same share of every class to within one image.

    Raises DataError unless 1 <= count <= N.
    """
    if not 1 <= count <= len(labels):
        raise DataError(
            f"cannot take a subset of {count} from {len(labels)} training images; choose 1 to {len(labels)}"
        )
    return np.flatnonzero(_choose(labels, count, derive("subset", seed))).astype(np.int64)


def _choose(labels: np.ndarray, count: int, key: int) -> np.ndarray:
    """A mask (N,) with `count` True: shares by largest remainder, then the smallest random numbers of each class.

    The numbers are Philox's raw output, which NumPy promises to keep, not a shuffle, which it may change.
    """
    classes, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares, rest = np.divmod(sizes * count, len(labels))
    shares[np.argsort(-rest, kind="stable")[: count - shares.sum()]] += 1
    numbers = np.random.Philox(key=key).random_raw(len(labels))
    mask = np.zeros(len(labels), dtype=bool)
    for i in range(len(classes)):
        mine = np.flatnonzero(which == i)
        mask[mine[np.argsort(numbers[mine], kind="stable")[: shares[i]]]] = True
    return mask
