"""The way from the reference experiment to the standard recipe, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.comparison.row import Row
from zoo.render.code import model_code_notes
from zoo.render.comparison import diverged_of
from zoo.render.document import RECORDS, document
from zoo.render.figures import COLOURS, figure
from zoo.render.marks import better, half_width, interval_notes, mark_notes, marks_of, percent, seed_words
from zoo.studies.eva6s8 import Ablated


def render(steps: Sequence[Ablated], style: str, title: str) -> str:
    """One row per step: accuracy with its 95 % interval and the change from the step before."""
    if style in RECORDS:
        return RECORDS[style]([_record(step) for step in steps])
    cells = [
        {
            "": str(number),
            "change": step.step.title,
            "norm": step.step.norm,
            "accuracy %": _accuracy(step),
            "from the step before": "-" if step.change is None else f"{100 * step.change:+.2f}",
            "seeds": seed_words(step.row.seeds),
        }
        for number, step in enumerate(steps)
    ]
    notes = [
        "Each row is the one above with one thing changed; the order decides what a change is worth.",
        *interval_notes({step.row.interval_kind for step in steps}, "a small change may be luck"),
        *mark_notes(*(step.row.caveats for step in steps)),
        *model_code_notes([run.result for step in steps for run in step.row.runs]),
    ]
    return document(title, cells, notes, style, left=("change", "norm"))


def _record(step: Ablated) -> dict[str, object]:
    row = step.row
    low, high = row.interval or (None, None)
    return {
        "step": step.step.title, "norm": step.step.norm, "model": row.model, "accuracy": row.accuracy,
        "interval_low": low, "interval_high": high,
        "interval_kind": row.interval_kind, "change": step.change, "seeds": row.seeds,
        "diverged": len(row.diverged), "selection": row.selection, "epochs": len(step.history),
    }  # fmt: skip


def _accuracy(step: Ablated) -> str:
    row = step.row
    if row.accuracy is None or row.interval is None:
        return "diverged"
    low, high = row.interval
    spread = half_width(row.interval) if row.interval_kind == "student" else f"[{percent(low)}, {percent(high)}]"
    return f"{percent(row.accuracy)} {spread}{_diverged(row)}{marks_of(row.caveats)}"


def _diverged(row: Row) -> str:
    return f", {diverged_of(row)}" if row.diverged else ""


def draw(steps: Sequence[Ablated], path: Path, title: str) -> None:
    """Left: test accuracy of each step with its interval. Right: the selection split's accuracy by epoch."""
    shades = [COLOURS[number % len(COLOURS)] for number in range(len(steps))]
    with figure(path, width=9.5, height=1.4 + 0.32 * len(steps)) as image:
        left, right = image.subplots(1, 2, width_ratios=[1.25, 1])
        for number, step in enumerate(steps):
            row = step.row
            if row.accuracy is not None and row.interval is not None:
                bars = [[100 * (row.accuracy - row.interval[0])], [100 * (row.interval[1] - row.accuracy)]]
                left.errorbar(100 * row.accuracy, number, xerr=bars, fmt="o", color=shades[number], capsize=2)
                note = "" if step.change is None else f"  {100 * step.change:+.2f}"
                left.annotate(
                    f"{percent(row.accuracy)}{marks_of(row.caveats)}{note}{_diverged(row)}",
                    (100 * row.interval[1], number), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7,
                )  # fmt: skip
            curve = [(line.epoch, 100 * line.eval_accuracy) for line in step.history if line.eval_accuracy is not None]
            if curve:
                dashes = "-" if number < len(COLOURS) else "--"
                right.plot(*zip(*curve, strict=True), dashes, color=shades[number], linewidth=1.2, label=str(number))
        left.set_yticks(range(len(steps)), [f"{number}  {step.step.title}" for number, step in enumerate(steps)])
        left.invert_yaxis()
        left.margins(x=0.25)
        left.set_xlabel(f"test accuracy (%), {better(smaller=False)}; change from the step above")
        right.set_xlabel("epoch")
        right.set_ylabel(f"accuracy on the selection split (%)\n{better(smaller=False)}")
        right.legend(title="step", fontsize=7, title_fontsize=7, ncols=2, loc="lower right")
        image.suptitle(title, fontsize=8)
