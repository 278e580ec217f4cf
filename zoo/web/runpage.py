"""What the page of one run shows beyond its row: classes, confusions, recipe, provenance, pictures."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from zoo.render.marks import disturbed_mark
from zoo.results.folder import EXPLAIN, load_result
from zoo.results.metrics import Metrics
from zoo.utils.disk import open_own
from zoo.web.cells import QUALITY, SPEED, SUMMARY, Column, number, percent, spread
from zoo.web.data import Page

MATRIX_CLASSES = 20  # a matrix of more cannot be read; the commonest confusions can
COMMONEST = 20


@dataclass(frozen=True)
class Confusions:
    """`rows`: the label, then per predicted class its count and share of the row; None for more than 20 classes.

    `pairs`: the commonest mistakes as (label, predicted, count, share of the label's images).
    """

    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]] | None
    pairs: list[tuple[str, str, int, float]]


def tested(page: Page) -> Metrics | None:
    """The metrics of the test set with the confusions, which only the run's own file has. Raises ResultError."""
    return load_result(page.stored.folder.result).test


def confusions(metrics: Metrics, classes: list[str]) -> Confusions:
    """The matrix of `metrics` with the names of `classes`."""
    images = metrics.images_by_class
    pairs = [
        (classes[label], classes[predicted], count, count / images[label])
        for label, predicted, count in metrics.counts
        if label != predicted
    ]
    commonest = heapq.nsmallest(COMMONEST, pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))
    return Confusions(classes, _matrix(metrics, classes) if len(classes) <= MATRIX_CLASSES else None, commonest)


def _matrix(metrics: Metrics, classes: list[str]) -> list[tuple[str, list[tuple[int, float]]]]:
    rows = [[(0, 0.0)] * len(classes) for _ in classes]
    images = metrics.images_by_class
    for label, predicted, count in metrics.counts:
        rows[label][predicted] = count, count / images[label]
    return list(zip(classes, rows, strict=True))


def per_class(metrics: Metrics, classes: list[str]) -> list[tuple[str, float | None]]:
    """Class name and accuracy, in the data set's order."""
    return list(zip(classes, metrics.per_class_accuracy, strict=True))


def figures(page: Page) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headed lists of (name, figure) of one run; accuracy and speed as its own row has them."""
    row, result = page.alone, page.result

    def cells(columns: Sequence[Column]) -> list[tuple[str, str]]:
        return [(column.title, column.text(row)) for column in columns]

    interval = spread(row.interval, row.interval_kind)
    accuracy = [("test %", percent(row.accuracy) + (f" ({interval})" if interval else ""))]
    if result.holdout:
        accuracy.append(("held-out %", percent(result.holdout.accuracy)))
    speed = cells(SPEED)
    mark = disturbed_mark("latency_p90" in result.speed.disturbed)
    speed.insert(3, ("p90 ms", number(result.speed.latency_p90, "{:.2f}", 1e3) + mark))
    trained = [
        ("epochs", f"{result.epochs_trained}"),
        ("selected epoch", "–" if result.selection.epoch is None else str(result.selection.epoch)),
        ("wall time", clock(result.wall_seconds)),
        ("resumes", str(result.resumes)),
    ]
    *quality, activations = cells(QUALITY)
    size = [*cells(SUMMARY[:2]), activations]
    return [("Accuracy", accuracy + quality), ("Speed", speed), ("Model", size), ("Training", trained)]


def provenance(page: Page) -> list[tuple[str, str]]:
    """Where the run comes from: commit, versions, machine, dates, fingerprints."""
    result = page.result
    commit = (result.commit or "–") + " with uncommitted changes" * result.uncommitted
    facts = [
        ("started", result.started),
        ("folder", page.where),
        ("git commit", commit),
        ("data set", f"{result.dataset.name}, fingerprint {result.dataset.fingerprint}"),
        ("images", f"{result.dataset.train_images:,} train, {result.dataset.holdout_images:,} held out, "
                   f"{result.dataset.test_images:,} test"),
        ("recipe", f"{result.recipe.name}, fingerprint {result.recipe.fingerprint}"),
        ("selection", f"{result.selection.rule} {result.selection.metric} on {result.selection.split}"),
        ("machine", page.machine),
    ]  # fmt: skip
    facts += [(key, str(value)) for key, value in result.environment.items() if value is not None]
    return facts + [(key, str(value)) for key, value in result.settings.model_dump().items()]


def as_yaml(content: Mapping[str, object]) -> str:
    """A recipe or a definition as it would be written by hand."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def pictures(page: Page) -> Iterator[tuple[Path, bytes]]:
    """The PNGs of ``zoo explain``, by name; none where it was not run.

    A page may be published: what a link leads to, and what is no PNG, is no picture.
    """
    folder = page.stored.folder.path / EXPLAIN
    for path in sorted(folder.glob("*.png")) if not folder.is_symlink() else ():
        with contextlib.suppress(OSError), os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
            if (content := file.read()).startswith(b"\x89PNG"):
                yield path, content


def caption(picture: Path) -> str:
    """The file's name in words."""
    return picture.stem.replace("_", " ").replace("-", " ")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
