"""Horizontal flips that alternate between epochs (Jordan, 2024)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from zoo.utils.seeding import derive


def alternating_flips(seed: int, epoch: int, rows: np.ndarray) -> npt.NDArray[np.bool_]:
    """(count,) bool: which of the training images `rows`, (count,) int64, ``AlternatingFlip`` mirrors in `epoch`."""
    size = 1 << int(rows.max(initial=0)).bit_length()
    flips: npt.NDArray[np.bool_] = coins(seed, size)[rows] ^ bool(epoch % 2)
    return flips


@lru_cache(maxsize=8)
def coins(seed: int, size: int) -> npt.NDArray[np.bool_]:
    """(size,) bool; entry r does not depend on `size`."""
    stream = np.random.Generator(np.random.Philox(key=derive("alternating flip", seed)))
    return stream.random(size) < 0.5
