"""What a learning curve says beyond its last point."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from zoo.errors import ResultError
from zoo.results.schema import present_name
from zoo.utils.files import write_atomic


def epochs_to(history: Sequence[EpochRow], share: float) -> int | None:
    """The first epoch whose accuracy on the selection split is at least `share` of the last epoch's.

    None where the recipe evaluates no split while it trains.
    """
    if not history or (last := history[-1].eval_accuracy) is None:
        return None
    return next(row.epoch for row in history if row.eval_accuracy is not None and row.eval_accuracy >= share * last)


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


@dataclass(frozen=True)
class EpochRow:
    """One line of ``history.csv``. Losses in nats, accuracies 0 to 1; None where nothing was measured."""

    epoch: int  # 1 is the first
    lr: float  # at the epoch's last step
    running_train_loss: float  # this and the next: over augmented batches as they went by
    running_train_accuracy: float
    eval_split: str | None  # "holdout" or "test", by the recipe's selection
    eval_loss: float | None
    eval_accuracy: float | None
    train_images_per_second: float
    train_seconds: float
    eval_seconds: float


def save_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write the epochs as CSV; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomic(path, text.getvalue().encode())


def load_history(path: Path) -> list[EpochRow]:
    """Read what :func:`save_history` wrote. Raises :class:`ResultError` for a missing or damaged file."""
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [present_name(name) for name in reader.fieldnames or ()]
            if reader.fieldnames != [field.name for field in fields(EpochRow)]:
                raise ValueError
            return [
                EpochRow(
                    epoch=int(row.pop("epoch")),
                    eval_split=row.pop("eval_split") or None,
                    eval_loss=_number(row.pop("eval_loss")),
                    eval_accuracy=_number(row.pop("eval_accuracy")),
                    **{name: float(text) for name, text in row.items()},
                )
                for row in reader
            ]
    except (OSError, ValueError, TypeError) as problem:
        reason = getattr(problem, "strerror", None) or "damaged or edited"
        raise ResultError(f"{path}: the history cannot be read ({reason})") from problem


def _number(text: str) -> float | None:
    return float(text) if text else None
