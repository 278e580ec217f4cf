"""Records of ``zoo evaluate`` to text, Markdown, CSV or JSON. The last two hold every record, the first two a pivot."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence

from zoo.comparison.baseline import FINEST
from zoo.recipes.recipe import slug_of
from zoo.render import differences
from zoo.render.document import LEFT, RECORDS, document
from zoo.render.marks import SEEDS_NOTE, mark_notes, marks_of, percent, seed_words
from zoo.trained.robustness import BATCH, RUNNING, Record
from zoo.trained.tables import Contrast, Kind, Line, Metric, Table, by, experiment, seed_means, tables
from zoo.utils.stats import half_of_draw, student_interval

STYLES = ("text", "markdown", "csv", "json")
WORDS = (*LEFT, "mode", "column")
Cells = dict[str, str]
# What a program needs to know of a difference besides its numbers, where all records that it is of share it.
SHARED = (
    "model", "norm", "recipe", "recipe_fingerprint", "selection", "precision", "trained_on", "trained_on_fingerprint",
    "dataset", "dataset_fingerprint", "corruption", "severity", "mode", "batch_size", "images",
    "batch_dependent", "commit", "uncommitted",
)  # fmt: skip


def render(records: Sequence[Record], style: str, notes: Sequence[str] = (), contrasts: Sequence[Contrast] = ()) -> str:
    """`records` in one of :data:`STYLES`, ending in a newline; `notes` stand below the tables for people.

    `contrasts` are a second table below each of them; for programs, records of their own below the others.
    """
    if style in RECORDS:
        return RECORDS[style]([*map(dataclasses.asdict, records), *map(_record, contrasts)])
    blocks = []
    for table in tables(records):
        first = table.records[0]
        title = (
            f"{first.dataset}, {first.images:,} test images; trained on {first.trained_on}, recipe "
            f"{slug_of(first.recipe, first.recipe_fingerprint)}, {first.precision}"
        )
        rows, below = LAYOUTS[table.kind](table)
        below += mark_notes(*(record.caveats for record in table.records))
        blocks.append(document(title, rows, below, style, left=WORDS))
        if own := [contrast for contrast in contrasts if experiment(contrast.records[0]) == experiment(first)]:
            blocks.append(_differences(table, own, style))
    return "\n".join(["\n".join(blocks), *notes, *([""] if notes else [])])


def _differences(table: Table, contrasts: Sequence[Contrast], style: str) -> str:
    """A line for each row and column of `table`."""
    rows = [
        {
            **_who(contrast.records[0]),
            **_how(table, contrast.row),
            "column": contrast.column,
            **differences.cells(contrast.against, contrast.records[0].selection),
            **differences.found_from(contrast.against),
        }
        for contrast in contrasts
    ]
    below = differences.notes([contrast.against for contrast in contrasts], contrasts[0].columns)
    return document(f"Differences from {contrasts[0].against.baseline}", rows, below, style, left=WORDS)


def _record(contrast: Contrast) -> dict[str, object]:
    """What the records of `contrast` share, and the difference."""
    shared: dict[str, object] = {}
    for name in SHARED:
        distinct = {getattr(record, name) for record in contrast.records}
        shared[name] = distinct.pop() if len(distinct) == 1 else None
    return shared | {"column": contrast.column, "columns": contrast.columns} | differences.fields(contrast.against)


def _runs(table: Table) -> tuple[list[Cells], list[str]]:
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
        for record in sorted(table.records, key=lambda r: (-(r.accuracy or 0), r.model, r.seed))
    ]
    notes = [_binomial(table)]
    if any(record.same_as_stored is False for record in table.records):
        notes.append(
            "NO: on the machine, software and number of threads of the training the same weights give the same "
            "accuracy; elsewhere last bits differ."
        )
    return rows, notes


def _other_images(table: Table) -> tuple[list[Cells], list[str]]:
    """Another test set: seeds pooled, beside the accuracy on the run's own."""
    rows = [
        {
            **_who(members[0]),
            "seeds": _seeds(members),
            "own test %": _own_test(members),
            **_cells(table, members),
            **_others(members),
        }
        for members in table.rows.values()
    ]
    return rows, [f"Own test: all test images of {table.records[0].trained_on}, as stored. {_limits(table)}"]


def _corruptions(table: Table) -> tuple[list[Cells], list[str]]:
    """The uncorrupted images, where they were evaluated, else the accuracy on the run's own; then the corruptions."""
    names = [column.name for column in table.columns]
    measured = "clean" in names
    rows = [
        {
            **_who(members[0]),
            **_how(table, row),
            "seeds": _seeds(members),
            **({} if measured else {"own test": _own_test(members)}),
            **_cells(table, members),
        }
        for row, members in table.rows.items()
    ]
    levels = ", ".join(map(str, sorted({record.severity for record in table.records if record.severity})))
    several = len({record.corruption for record in table.records if record.corruption}) > 1
    what = f"each corruption is the mean of severities {levels}" if several else f"severities {levels}"
    lost = f"points from {'clean' if measured else 'own test'}" + " to mean" * ("mean" in names)
    own = " Corruptions are zoo's own, by albumentations (docs/robustness.md), not CIFAR-10-C's." if measured else ""
    notes = [f"Accuracy in %; {what}; lost: {lost}.{own}"]
    if not measured:
        notes.append(f"Own test: all test images of {table.records[0].trained_on}, as stored.")
    return rows, [*notes, *_missing(table), _limits(table)]


def _batch_sizes(table: Table) -> tuple[list[Cells], list[str]]:
    """A column per test batch size, a row per model and mode."""
    rows = [
        {**_who(members[0]), **_how(table, row), "seeds": _seeds(members), **_cells(table, members)}
        for row, members in table.rows.items()
    ]
    by_run = by((r for r in table.records if r.mode == RUNNING), lambda r: (r.model, r.seed)).values()
    accuracies = [[r.accuracy for r in members if r.accuracy is not None] for members in by_run]
    spread = max((max(shares) - min(shares) for shares in accuracies if shares), default=0.0)
    notes = [
        f"Accuracy in %, images in one random order. {RUNNING}: as usual; between batch sizes a run differs by at most "
        f"{percent(spread)} points (sums in another order).",
        f"{BATCH}: layers that keep running statistics use the test batch's own instead.",
        *_missing(table),
        _limits(table),
    ]
    return rows, notes


LAYOUTS: dict[Kind, Callable[[Table], tuple[list[Cells], list[str]]]] = {
    "own images": _runs, "other images": _other_images, "batch sizes": _batch_sizes, "corruptions": _corruptions,
}  # fmt: skip


def _who(record: Record) -> Cells:
    return {"model": record.model + marks_of(record.caveats), "norm": record.norm or "-"}


def _how(table: Table, row: Line) -> Cells:
    """The mode and the batch size of a row, where `table` has several."""
    _, (mode, size) = row
    if len({how for _, how in table.rows}) == 1:
        return {}
    return {"mode": mode} | ({"batch": str(size)} if size else {})


def _cells(table: Table, members: Sequence[Record]) -> Cells:
    return {
        column.name: _mean([record for record in members if column.holds(record)], column.read)
        for column in table.columns
    }


def _others(members: Sequence[Record]) -> Cells:
    balance: Cells = {}
    if any(record.largest_class_share for record in members):
        balance["balanced accuracy %"] = _mean(members, lambda r: r.balanced_accuracy)
        balance["largest class %"] = _mean(members[:1], lambda r: r.largest_class_share)
    return balance | {
        "loss": _mean(members, lambda r: r.loss, "{:.3f}", 1, FINEST),
        "top-5 %": _mean(members, lambda r: r.top5_accuracy),
        "ECE": _mean(members, lambda r: r.ece, "{:.3f}", 1, FINEST),
        "Brier": _mean(members, lambda r: r.brier, "{:.3f}", 1, FINEST),
    }


def _own_test(members: Sequence[Record]) -> str:
    return _mean(members, lambda r: r.stored_accuracy, step=FINEST)  # a record does not say of how many images it is


def _mean(
    members: Sequence[Record], metric: Metric, shape: str = "{:.2f}", factor: float = 100.0, step: float | None = None
) -> str:
    """The mean over seeds of each seed's mean, ± the 95 % Student interval where there are several; - where unknown.

    `step` is the one that the metric comes in; None: it is a share of the images.
    """
    means = [factor * mean for mean in seed_means(members, metric)]
    if not means:
        return "-"
    text = shape.format(statistics.fmean(means))
    if len(means) == 1:
        return text
    low, high = student_interval(means, resolution=factor * (step or 1 / members[0].images))
    return f"{text} ± {shape.format((high - low) / 2)}"


def _seeds(members: Sequence[Record]) -> str:
    return seed_words(list({record.seed for record in members}))


def _missing(table: Table) -> list[str]:
    return sorted({f"-: {record.missing}." for record in table.records if record.missing})


def _limits(table: Table) -> str:
    single = all(len({r.seed for r in members}) == 1 for members in by(table.records, lambda r: r.model).values())
    return f"{'1 seed: seeds vary too, so no winner is claimed.' if single else SEEDS_NOTE} {_binomial(table)}"


def _binomial(table: Table) -> str:
    images = table.records[0].images
    half = math.ceil(1000 * half_of_draw(images)) / 10
    return f"The draw of {images:,} images alone leaves up to ± {half:.1f} points (binomial, 95 %)."
