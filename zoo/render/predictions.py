"""What a run says of pictures, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence

from tabulate import tabulate

from zoo.trained.load import TrainedRun
from zoo.trained.predict import Prediction, Size


def render(run: TrainedRun, answers: Sequence[Prediction], top: int, style: str) -> str:
    """The `top` most likely classes of every picture in one of :data:`FORMATS`, ending in a newline."""
    return FORMATS[style](run.result.dataset.classes, answers, top)


def _text(classes: Sequence[str], answers: Sequence[Prediction], top: int) -> str:
    rows = []
    for answer in answers:
        best = [f"{classes[label]} {100 * answer.probabilities[label]:.1f} %" for label in answer.best(top)]
        rows.append((answer.file, *best, f"resized from {_pixels(answer.resized_from)}" if answer.resized_from else ""))
    return tabulate(rows, tablefmt="plain", disable_numparse=True) + "\n"


def _json(classes: Sequence[str], answers: Sequence[Prediction], top: int) -> str:
    records = [
        {
            "file": str(answer.file),
            "resized_from": _pixels(answer.resized_from),
            "predictions": [
                {"class": classes[label], "label": label, "probability": float(answer.probabilities[label])}
                for label in answer.best(top)
            ],
        }
        for answer in answers
    ]
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n"


def _csv(classes: Sequence[str], answers: Sequence[Prediction], top: int) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "rank", "class", "label", "probability", "resized_from"])
    for answer in answers:
        for rank, label in enumerate(answer.best(top), start=1):
            probability = float(answer.probabilities[label])
            writer.writerow([answer.file, rank, classes[label], label, probability, _pixels(answer.resized_from) or ""])
    return text.getvalue()


def _pixels(size: Size | None) -> str | None:
    """Width first, as people say it."""
    return f"{size[1]}x{size[0]}" if size else None


FORMATS: dict[str, Callable[[Sequence[str], Sequence[Prediction], int], str]] = {
    "text": _text,
    "json": _json,
    "csv": _csv,
}
