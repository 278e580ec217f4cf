"""What a learning curve says beyond its last point."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from zoo.errors import ResultError
from zoo.results.fields import Count, Loss, Seconds, Share, Speed
from zoo.results.schema import present_name
from zoo.utils.files import read_file, write_atomic

LARGEST = 64 * 2**20  # bytes of a history


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

    epoch: Count  # 1 is the first
    lr: Seconds  # at the epoch's last step
    running_train_loss: Loss  # this and the next: over augmented batches as they went by
    running_train_accuracy: Share
    eval_split: Literal["holdout", "test"] | None  # by the recipe's selection
    eval_loss: Loss | None
    eval_accuracy: Share | None
    train_images_per_second: Speed
    train_seconds: Seconds
    eval_seconds: Seconds


_ROWS = TypeAdapter(list[EpochRow])
COLUMNS = [field.name for field in fields(EpochRow)]


def checked(rows: list[dict[str, Any]]) -> list[EpochRow]:
    """The epochs in a file, from the first on; their metrics may have their former names. Raises ValueError."""
    return _consecutive([{present_name(name): cell for name, cell in row.items()} for row in rows])


def _consecutive(rows: list[dict[str, Any]]) -> list[EpochRow]:
    history = _ROWS.validate_python(rows)
    if [row.epoch for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("epochs are missing or doubled")
    return history


def save_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write the epochs as CSV; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomic(path, text.getvalue().encode())


def load_history(path: Path) -> list[EpochRow]:
    """Read what :func:`save_history` wrote. Raises :class:`ResultError` for a missing or damaged file."""
    try:
        names, *lines = csv.reader(io.StringIO(read_file(path, LARGEST).decode(), newline=""))
        if [present_name(name) for name in names] != COLUMNS:
            raise ValueError
        return _consecutive(
            [{name: _cell(name, text) for name, text in zip(COLUMNS, line, strict=True)} for line in lines]
        )
    except Exception as problem:
        reason = getattr(problem, "strerror", None) or "damaged or edited"
        raise ResultError(f"{path}: the history cannot be read ({reason})") from problem


def _cell(name: str, text: str) -> str | float | None:
    if name == "eval_split":
        return text or None
    return int(text) if name == "epoch" else float(text) if text else None
