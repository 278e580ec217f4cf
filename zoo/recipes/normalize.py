"""``Normalize: {from: train}``: constants that are computed from the images that a run trains on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Step = dict[str, dict[str, Any]]
FROM_TRAIN: Step = {"Normalize": {"from": "train"}}


def filled(steps: Iterable[Step], mean: Sequence[float], std: Sequence[float]) -> list[Step]:
    """`steps` with the constants, one for each channel of values from 0 to 1, in place of :data:`FROM_TRAIN`."""
    computed: Step = {"Normalize": {"mean": list(mean), "std": list(std)}}
    return [computed if step == FROM_TRAIN else step for step in steps]
