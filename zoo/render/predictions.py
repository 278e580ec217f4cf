"""What a run says of pictures, as text, JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zoo.data.listing import in_words
from zoo.render.document import as_csv
from zoo.render.fit import fit, width
from zoo.trained.load import TrainedRun
from zoo.trained.predict import Prediction
from zoo.utils.text import visible


def render(run: TrainedRun, answers: Sequence[Prediction], top: int, style: str) -> str:
    """The `top` most likely classes of every picture as ``text``, ``json`` or ``csv``, ending in a newline."""
    classes = run.result.dataset.classes
    if style == "text":
        rows = []
        for answer in answers:
            best = [f"{classes[label]} {100 * answer.probabilities[label]:.1f} %" for label in answer.best(top)]
            size = answer.resized_from and in_words(answer.resized_from)
            cells = (str(answer.file), *best, f"resized from {size}" if size else "")
            rows.append({str(place): visible(cell) for place, cell in enumerate(cells)})
        return fit(rows, [*rows[0]], width(), titled=False) + "\n"
    records: list[dict[str, Any]] = [
        {
            "file": str(answer.file),
            "resized_from": answer.resized_from and in_words(answer.resized_from),
            "predictions": [
                {"class": classes[label], "label": label, "probability": float(answer.probabilities[label])}
                for label in answer.best(top)
            ],
        }
        for answer in answers
    ]
    if style == "json":
        return json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    return as_csv(
        [
            {"file": answer["file"], "rank": rank, **prediction, "resized_from": answer["resized_from"]}
            for answer in records
            for rank, prediction in enumerate(answer["predictions"], start=1)
        ]
    )
