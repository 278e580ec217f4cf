"""The way from the reference experiment to the standard recipe, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.comparison.row import Row
from zoo.render.comparison import TEST_MARK, diverged_of
from zoo.render.document import as_csv, as_json, document
from zoo.render.figures import COLOURS, figure
from zoo.render.marks import TEST_NOTE
from zoo.studies.eva6s8 import Ablated


def render(steps: Sequence[Ablated], style: str, title: str) -> str:
    """One row per step: accuracy with its 95 % interval and the change from the step before."""
    if style in ("json", "csv"):
        return (as_json if style == "json" else as_csv)([_record(item) for item in steps])
    cells = [
        {
            "": number,
            "change": item.step.title,
            "norm": item.step.norm,
            "accuracy %": _accuracy(item),
            "from the step before": "-" if item.change is None else f"{100 * item.change:+.2f}",
            "seeds": str(len(item.row.seeds)),
        }
        for number, item in enumerate(steps)
    ]
    return document(title, cells, _notes(steps), style, left=("change", "norm"))


def _record(item: Ablated) -> dict[str, object]:
    row = item.row
    return {
        "step": item.step.title, "norm": item.step.norm, "model": row.model, "accuracy": row.accuracy,
        "interval_low": row.interval[0] if row.interval else None,
        "interval_high": row.interval[1] if row.interval else None,
        "interval_kind": row.interval_kind, "change": item.change, "seeds": len(row.seeds),
        "diverged": len(row.diverged), "selection": row.selection, "epochs": len(item.history),
    }  # fmt: skip


def _accuracy(item: Ablated) -> str:
    row = item.row
    if row.accuracy is None:
        return "diverged"
    low, high = row.interval
    spread = (
        f" ± {50 * (high - low):.2f}" if row.interval_kind == "student" else f" [{100 * low:.2f}, {100 * high:.2f}]"
    )
    return f"{100 * row.accuracy:.2f}{spread}{_diverged(row)}{TEST_MARK if row.selection == 'test' else ''}"


def _diverged(row: Row) -> str:
    return f", {diverged_of(row)}" if row.diverged else ""


def _notes(steps: Sequence[Ablated]) -> list[str]:
    kinds = {item.row.interval_kind for item in steps}
    notes = ["Each row is the one above with one thing changed; the order decides what a change is worth."]
    if "binomial" in kinds:
        notes.append("1 seed: in brackets the 95 % binomial interval of the test set; a small change may be luck.")
    if "student" in kinds:
        notes.append("Several seeds: mean ± 95 % interval over seeds (Student t).")
    if any(item.row.selection == "test" for item in steps):
        notes.append(TEST_NOTE)
    return notes


def draw(steps: Sequence[Ablated], path: Path, title: str) -> None:
    """Left: test accuracy of each step with its interval. Right: the selection split's accuracy by epoch."""
    shades = [COLOURS[number % len(COLOURS)] for number in range(len(steps))]
    with figure(path, width=9.5, height=1.4 + 0.32 * len(steps)) as made:
        left, right = made.subplots(1, 2, width_ratios=[1.25, 1])
        for number, item in enumerate(steps):
            row = item.row
            if row.accuracy is not None:
                bars = [[100 * (row.accuracy - row.interval[0])], [100 * (row.interval[1] - row.accuracy)]]
                left.errorbar(100 * row.accuracy, number, xerr=bars, fmt="o", color=shades[number], capsize=2)
                note = "" if item.change is None else f"  {100 * item.change:+.2f}"
                left.annotate(
                    f"{100 * row.accuracy:.2f}{TEST_MARK if row.selection == 'test' else ''}{note}{_diverged(row)}",
                    (100 * row.interval[1], number), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7,
                )  # fmt: skip
            curve = [(line.epoch, 100 * line.eval_accuracy) for line in item.history if line.eval_accuracy is not None]
            if curve:
                dashes = "-" if number < len(COLOURS) else "--"
                right.plot(*zip(*curve, strict=True), dashes, color=shades[number], linewidth=1.2, label=str(number))
        left.set_yticks(range(len(steps)), [f"{number}  {item.step.title}" for number, item in enumerate(steps)])
        left.invert_yaxis()
        left.margins(x=0.25)
        left.set_xlabel("test accuracy (%), and change from the step above")
        right.set_xlabel("epoch")
        right.set_ylabel("accuracy on the selection split (%)")
        right.legend(title="step", fontsize=7, title_fontsize=7, ncols=2, loc="lower right")
        made.suptitle(title, fontsize=8)
