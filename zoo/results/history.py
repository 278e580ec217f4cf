"""What a learning curve says beyond its last point."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.results.schema import EpochRow


def epochs_to(history: Sequence[EpochRow], share: float) -> int | None:
    """The first epoch whose accuracy on the selection split is at least `share` of the last epoch's.

    None where the recipe evaluates no split while it trains.
    """
    if not history or history[-1].eval_accuracy is None:
        return None
    wanted = share * history[-1].eval_accuracy
    return next(row.epoch for row in history if row.eval_accuracy >= wanted)


def seconds_to(history: Sequence[EpochRow], accuracy: float) -> float | None:
    """Seconds of training, evaluation left out, until the selection split's accuracy is `accuracy` (0 to 1) or more.

    None where it never is. The time of an epoch counts whole, since it is at its end that it is evaluated.
    """
    seconds = 0.0
    for row in history:
        seconds += row.train_seconds
        if row.eval_accuracy is not None and row.eval_accuracy >= accuracy:
            return seconds
    return None
