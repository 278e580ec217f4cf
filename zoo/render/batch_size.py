"""The batch-size study as a table. Its picture is that of `zoo plot batch-size`, :mod:`zoo.render.plots.batch_size`."""

from __future__ import annotations

from zoo.comparison.row import Row
from zoo.render.code import model_code_notes
from zoo.render.document import RECORDS, document
from zoo.render.marks import accuracy, interval_notes, mark_notes, marks_of, which_seeds
from zoo.studies.batch_size import BatchSizes


def render(study: BatchSizes, style: str) -> str:
    """The test errors of `study`: a table, or in CSV and JSON one record per model and batch size."""
    records = [
        {
            "model": model, "batch_size": size, "lr": study.rates[size], "accuracy": row.accuracy,
            "interval_low": row.interval[0] if row.interval else None,
            "interval_high": row.interval[1] if row.interval else None,
            "interval_kind": row.interval_kind, "seeds": row.seeds, "diverged": len(row.diverged),
            "dataset": study.dataset, "recipe": study.recipe, "lr_rule": study.rule, "selection": row.selection,
            "recipe_fingerprint": study.groups[size].recipe_fingerprint,
        }
        for model, rows in study.rows().items()
        for size, row in rows.items()
    ]  # fmt: skip
    if style in RECORDS:
        return RECORDS[style](records)
    cells = [
        {"model": model} | {f"batch {size}": _error(rows[size]) for size in study.groups}
        for model, rows in study.rows().items()
    ]
    cells.append({"model": "learning rate"} | {f"batch {size}": f"{rate:.6g}" for size, rate in study.rates.items()})
    fingerprints = {f"batch {size}": group.recipe_fingerprint[:8] for size, group in study.groups.items()}
    cells.append({"model": "recipe"} | fingerprints)
    title = f"test error % by training batch size: {study.dataset}, recipe {study.recipe}, {study.epochs} epochs"
    rule = {
        "linear": f"the recipe's at batch {study.base}, times batch / {study.base} (linear rule, Goyal et al., 2017)",
        "sqrt": f"the recipe's at batch {study.base}, times the root of batch / {study.base}",
        "none": "the recipe's, the same for every batch size",
    }[study.rule]
    every = [row for rows in study.rows().values() for row in rows.values()]
    notes = [
        f"Learning rate: {rule}. All else is equal, epochs too, so that a small batch takes more steps.",
        *interval_notes({row.interval_kind for row in every}, "no winner is claimed"),
        *mark_notes(*(row.caveats for row in every)),
        *model_code_notes([run.result for row in every for run in row.runs]),
    ]
    return document(title, cells, notes, style)


def _error(row: Row) -> str:
    if row.accuracy is None or row.interval is None:
        return "diverged"
    low, high = row.interval
    diverged = f", {len(row.diverged)} diverged" if row.diverged else ""
    seeds = f", seeds {which}" if (which := which_seeds(row.seeds)) else ""
    error = accuracy(1 - row.accuracy, (1 - high, 1 - low), row.interval_kind)
    return error + diverged + seeds + marks_of(row.caveats)
