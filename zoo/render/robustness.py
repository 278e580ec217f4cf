"""Records of ``zoo evaluate`` to text, Markdown, CSV or JSON. The last two hold every record, the first two a pivot."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from zoo.comparison.baseline import FINEST
from zoo.recipes.recipe import slug_of
from zoo.render.document import RECORDS, document
from zoo.render.marks import SEEDS_NOTE, percent, selection_notes, test_mark
from zoo.trained.robustness import BATCH, RUNNING, Record
from zoo.utils.stats import student_interval, wilson_interval

STYLES = ("text", "markdown", "csv", "json")
Metric = Callable[[Record], float | None]
Cells = dict[str, str]
Key = TypeVar("Key", bound=Hashable)


def render(records: Sequence[Record], style: str, notes: Sequence[str] = ()) -> str:
    """`records` in one of :data:`STYLES`, ending in a newline; `notes` stand below the tables for people."""
    if style in RECORDS:
        return RECORDS[style]([dataclasses.asdict(record) for record in records])
    blocks = []
    # One recipe and one data set to a table, as in `zoo compare`: nothing else may be ranked.
    for group in _by(records, lambda r: (r.trained_on_fingerprint, r.recipe_fingerprint, r.dataset)).values():
        first = group[0]
        title = (
            f"{first.dataset}, {first.images:,} test images; trained on {first.trained_on}, recipe "
            f"{slug_of(first.recipe, first.recipe_fingerprint)}, {first.precision}"
        )
        rows, below = _layout(group)(group)
        below += selection_notes(first.selection)
        blocks.append(document(title, rows, below, style, left=("model", "norm", "mode")))
    return "\n".join(["\n".join(blocks), *notes, *([""] if notes else [])])


def _layout(group: Sequence[Record]) -> Callable[[Sequence[Record]], tuple[list[Cells], list[str]]]:
    if any(record.corruption for record in group):
        return _corruptions
    if len({(record.mode, record.batch_size) for record in group}) > 1:
        return _batch_sizes
    return _runs if group[0].dataset_fingerprint == group[0].trained_on_fingerprint else _other_images


def _runs(group: Sequence[Record]) -> tuple[list[Cells], list[str]]:
    """The run's own test images: one row per run, beside what was stored."""
    rows = [
        {
            **_who(record),
            "seed": str(record.seed),
            "accuracy %": percent(record.accuracy),
            "stored %": percent(record.stored_accuracy),
            "same": {None: "-", True: "yes", False: "NO"}[record.same_as_stored],
            **_others([record]),
        }
        for record in sorted(group, key=lambda r: (-(r.accuracy or 0), r.model, r.seed))
    ]
    notes = [_binomial(group)]
    if any(record.same_as_stored is False for record in group):
        notes.append(
            "NO: on the machine, software and number of threads of the training the same weights give the same "
            "accuracy; elsewhere last bits differ."
        )
    return rows, notes


def _other_images(group: Sequence[Record]) -> tuple[list[Cells], list[str]]:
    """Another test set: seeds pooled, beside the accuracy on the run's own."""
    rows = [
        {
            **_who(members[0]),
            "seeds": _seeds(members),
            "own test %": _own_test(members),
            f"{members[0].dataset} %": _mean(members, lambda r: r.accuracy),
            "lost": _mean(members, lambda r: r.gap),
            **_others(members),
        }
        for members in _ranked(group, lambda r: r.accuracy)
    ]
    return rows, [f"Own test: all test images of {group[0].trained_on}, as stored. {_limits(group)}"]


def _corruptions(group: Sequence[Record]) -> tuple[list[Cells], list[str]]:
    """A column per corruption, the mean of its severities; of one corruption alone, a column per severity."""
    names = list(dict.fromkeys(record.corruption for record in group if record.corruption))
    severities = sorted({record.severity for record in group if record.severity})
    measured = any(record.corruption is None for record in group)
    first = "clean" if measured else "own test"
    levels = ", ".join(map(str, severities))
    several = len({(record.mode, record.batch_size) for record in group}) > 1
    rows = []
    for members in _ranked(group, lambda r: r.accuracy if r.corruption else None):
        corrupted = [record for record in members if record.corruption]
        clean = [record for record in members if not record.corruption]
        columns = (
            {name: [record for record in corrupted if record.corruption == name] for name in names}
            if len(names) > 1
            else {f"{names[0]} {level}": [r for r in corrupted if r.severity == level] for level in severities}
        )
        rows.append(
            {
                **_who(members[0]),
                **({"mode": members[0].mode, "batch": str(members[0].batch_size)} if several else {}),
                "seeds": _seeds(members),
                first: _mean(clean, lambda r: r.accuracy) if measured else _own_test(members),
                **{name: _mean(cell, lambda r: r.accuracy) for name, cell in columns.items()},
                "mean": _mean(corrupted, lambda r: r.accuracy),
                "lost": _mean(corrupted, lambda r: r.gap),
            }
        )
    what = f"each corruption is the mean of severities {levels}" if len(names) > 1 else f"severities {levels}"
    own = " Corruptions are zoo's own, by albumentations (docs/measuring.md), not CIFAR-10-C's." if measured else ""
    notes = [f"Accuracy in %; {what}; lost: points from {first} to mean.{own}"]
    if not measured:
        notes.append(f"Own test: all test images of {group[0].trained_on}, as stored.")
    return rows, [*notes, *_missing(group), _limits(group)]


def _batch_sizes(group: Sequence[Record]) -> tuple[list[Cells], list[str]]:
    """A column per test batch size, a row per model and mode."""
    sizes = sorted({record.batch_size for record in group})
    rows = [
        {
            **_who(members[0]),
            "mode": members[0].mode,
            "seeds": _seeds(members),
            **{
                f"batch {size}": _mean([r for r in members if r.batch_size == size], lambda r: r.accuracy)
                for size in sizes
            },
        }
        for members in _ranked(group, lambda r: r.accuracy if r.mode == RUNNING else None)
    ]
    by_run = _by((r for r in group if r.mode == RUNNING), lambda r: (r.model, r.seed)).values()
    accuracies = [[r.accuracy for r in members if r.accuracy is not None] for members in by_run]
    spread = max((max(shares) - min(shares) for shares in accuracies if shares), default=0.0)
    notes = [
        f"Accuracy in %, images in one random order. {RUNNING}: as usual; between batch sizes a run differs by at most "
        f"{percent(spread)} points (sums in another order).",
        f"{BATCH}: layers that keep running statistics use the test batch's own instead.",
        *_missing(group),
        _limits(group),
    ]
    return rows, notes


def _who(record: Record) -> Cells:
    return {"model": record.model + test_mark(record.selection), "norm": record.norm or "-"}


def _others(members: Sequence[Record]) -> Cells:
    return {
        "loss": _mean(members, lambda r: r.loss, "{:.3f}", 1, FINEST),
        "top-5 %": _mean(members, lambda r: r.top5_accuracy),
        "ECE": _mean(members, lambda r: r.ece, "{:.3f}", 1, FINEST),
        "Brier": _mean(members, lambda r: r.brier, "{:.3f}", 1, FINEST),
    }


def _ranked(group: Sequence[Record], metric: Metric) -> list[list[Record]]:
    """Rows of one model in one pass (one mode too where sizes are columns), best model first."""
    many = any(record.corruption for record in group)
    best: dict[str, float] = {}
    for model, members in _by(group, lambda r: r.model).items():
        numbers = [number for number in map(metric, members) if number is not None]
        best[model] = statistics.fmean(numbers) if numbers else -1.0
    rows = _by(group, lambda r: (r.model, r.mode, r.batch_size if many else None))
    order = sorted(rows, key=lambda key: (-best[key[0]], key[0], key[1] != RUNNING, key[2] or 0))
    return [rows[key] for key in order]


def _own_test(members: Sequence[Record]) -> str:
    return _mean(members, lambda r: r.stored_accuracy, step=FINEST)  # a record does not say of how many images it is


def _mean(
    members: Sequence[Record], metric: Metric, shape: str = "{:.2f}", factor: float = 100.0, step: float | None = None
) -> str:
    """The mean over seeds of each seed's mean, ± the 95 % Student interval where there are several; - where unknown.

    `step` is the one that the metric comes in; None: it is a share of the images.
    """
    seeds: dict[int, list[float]] = defaultdict(list)
    for record in members:
        if (number := metric(record)) is None:
            return "-"
        seeds[record.seed].append(number)
    if not seeds:
        return "-"
    means = [factor * statistics.fmean(numbers) for numbers in seeds.values()]
    text = shape.format(statistics.fmean(means))
    if len(means) == 1:
        return text
    low, high = student_interval(means, resolution=factor * (step or 1 / members[0].images))
    return f"{text} ± {shape.format((high - low) / 2)}"


def _seeds(members: Sequence[Record]) -> str:
    return str(len({record.seed for record in members}))


def _missing(group: Sequence[Record]) -> list[str]:
    return sorted({f"-: {record.missing}." for record in group if record.missing})


def _limits(group: Sequence[Record]) -> str:
    single = all(len({r.seed for r in members}) == 1 for members in _by(group, lambda r: r.model).values())
    return f"{'1 seed: seeds vary too, so no winner is claimed.' if single else SEEDS_NOTE} {_binomial(group)}"


def _binomial(group: Sequence[Record]) -> str:
    images = group[0].images
    low, high = wilson_interval(images // 2, images)
    half = math.ceil(1000 * (high - low) / 2) / 10
    return f"The draw of {images:,} images alone leaves up to ± {half:.1f} points (binomial, 95 %)."


def _by(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return dict(groups)
