"""The batch-size study as a table and as the picture of GroupNorm's paper: error against batch size."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from zoo.compare import Row
from zoo.report.figures import COLOURS, MARKERS, figure
from zoo.report.tables import TEST_MARK, TEST_NOTE
from zoo.study import BatchSizes

STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}


def render(study: BatchSizes, style: str) -> str:
    """The test errors of `study`: a table, or in CSV and JSON one record per model and batch size."""
    records = [
        {
            "model": model, "batch_size": size, "lr": study.rates[size], "accuracy": row.accuracy,
            "interval_low": row.interval[0] if row.interval else None,
            "interval_high": row.interval[1] if row.interval else None,
            "interval_kind": row.interval_kind, "seeds": len(row.seeds), "diverged": len(row.diverged),
            "dataset": study.dataset, "recipe": study.recipe, "lr_rule": study.rule, "selection": row.selection,
            "recipe_fingerprint": study.groups[size].recipe_fingerprint,
        }
        for model, rows in study.rows().items()
        for size, row in rows.items()
    ]  # fmt: skip
    if style == "json":
        return json.dumps(records, indent=1) + "\n"
    if style == "csv":
        return pd.DataFrame(records).to_csv(index=False, lineterminator="\n")
    cells = [
        {"model": model} | {f"batch {size}": _error(rows[size]) for size in study.groups}
        for model, rows in study.rows().items()
    ]
    cells.append({"model": "learning rate"} | {f"batch {size}": f"{rate:.6g}" for size, rate in study.rates.items()})
    cells.append(
        {"model": "recipe"}
        | {f"batch {size}": f"{group.recipe_fingerprint[:8]}" for size, group in study.groups.items()}
    )
    frame = pd.DataFrame(cells)
    aligned = ["left", *("right" for _ in study.groups)]
    table = tabulate(
        frame, headers="keys", showindex=False, tablefmt=STYLES[style], colalign=aligned, disable_numparse=True
    )
    prefix = "% " if style == "latex" else ""
    title = f"test error % by training batch size: {study.dataset}, recipe {study.recipe}, {study.epochs} epochs"
    title = f"**{title}**" if style == "markdown" else prefix + title
    return "\n".join([title, "", table, "", *(prefix + note for note in _notes(study)), ""])


def _error(row: Row) -> str:
    if row.accuracy is None:
        return "diverged"
    low, high = row.interval
    text = f"{100 * (1 - row.accuracy):.2f}"
    if row.interval_kind == "student":
        text += f" ± {50 * (high - low):.2f}"
    else:
        text += f" ({100 * (1 - high):.2f} to {100 * (1 - low):.2f})"
    diverged = f", {len(row.diverged)} diverged" if row.diverged else ""
    return text + diverged + (TEST_MARK if row.selection == "test" else "")


def _notes(study: BatchSizes) -> list[str]:
    rows = [row for rows in study.rows().values() for row in rows.values()]
    rule = {
        "linear": f"the recipe's at batch {study.base}, times batch / {study.base} (linear rule, Goyal et al., 2017)",
        "sqrt": f"the recipe's at batch {study.base}, times the root of batch / {study.base}",
        "none": "the recipe's, the same for every batch size",
    }[study.rule]
    notes = [f"Learning rate: {rule}. All else is equal, epochs too, so that a small batch takes more steps."]
    if any(row.interval_kind == "binomial" for row in rows):
        notes.append("1 seed: in brackets the 95 % binomial interval of the test set; no winner is claimed.")
    if any(row.interval_kind == "student" for row in rows):
        notes.append("Several seeds: mean ± 95 % interval over seeds (Student t).")
    if any(row.selection == "test" for row in rows):
        notes.append(TEST_NOTE)
    return notes


def draw(study: BatchSizes, path: Path) -> None:
    """The picture: one line per model, 95 % intervals as bars, batch size on a logarithmic axis, large on the left."""
    with figure(path, height=3.2 + 0.2 * len(study.models)) as made:
        axes = made.subplots()
        for number, rows in enumerate(study.rows().values()):
            points = [(size, row) for size, row in sorted(rows.items()) if row.accuracy is not None]
            errors = [100 * (1 - row.accuracy) for _, row in points]
            low = [100 * (row.interval[1] - row.accuracy) for _, row in points]
            high = [100 * (row.accuracy - row.interval[0]) for _, row in points]
            label = next(iter(rows.values())).label
            axes.errorbar(
                [size for size, _ in points], errors, [low, high], label=label, capsize=2, markersize=5,
                color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
            )  # fmt: skip
        sizes = sorted(study.groups)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.invert_xaxis()
        axes.set_xlabel("training batch size")
        axes.set_ylabel("test error (%)")
        made.legend(loc="outside lower center")
        rows = [row for rows in study.rows().values() for row in rows.values()]
        kinds = {"student": "Student over seeds", "binomial": "binomial, 1 seed"}
        told = [words for kind, words in kinds.items() if any(row.interval_kind == kind for row in rows)]
        what = f"{study.dataset}, recipe {study.recipe}, {study.epochs} epochs, lr rule {study.rule}"
        title = f"{what}; bars: 95 % ({' and '.join(told)})"
        if any(row.selection == "test" for row in rows):
            title += f", {TEST_MARK} selection: test"
        axes.set_title(title, fontsize=8)
