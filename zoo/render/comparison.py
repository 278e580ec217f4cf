"""Comparison groups as tables, HTML, CSV or JSON: what title, cells and notes say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from zoo.comparison.groups import Group
from zoo.comparison.row import QUALITY, Row
from zoo.render import differences, marks
from zoo.render.code import by_code, code_notes, code_of
from zoo.render.document import as_csv, as_json, document, table_of
from zoo.render.marks import (
    accuracy,
    half_width,
    interval_notes,
    mark_notes,
    marks_of,
    number,
    p_value,
    percent,
    seed_words,
)
from zoo.render.tuning import words_of
from zoo.results.disturbed import QUARTILED

ELSEWHERE_MARK = "+"
ELSEWHERE = f"Machine letter with {ELSEWHERE_MARK}: other seeds of that row ran elsewhere; its speeds leave them out."
# The metrics of quality by their titles: name in a row, shape, and factor.
METRICS = {
    "loss": ("loss", "{:.4f}", 1.0),
    "top-5 %": ("top5_accuracy", "{:.2f}", 100),
    "ECE %": ("ece", "{:.2f}", 100),
    "Brier": ("brier", "{:.4f}", 1.0),
    "train accuracy %": ("train_accuracy", "{:.2f}", 100),
    "gap": ("gap", "{:+.2f}", 100),
    "epochs to 90 % of final": ("epochs_to_90_percent_of_final", "{:.1f}", 1.0),
}
# The speeds by their titles, likewise.
SPEEDS = {
    "train img/s": ("train_images_per_second", "{:,.0f}", 1.0),
    "inference img/s": ("inference_images_per_second", "{:,.0f}", 1.0),
    "p50 ms": ("latency_p50", "{:.2f}", 1e3),
    "p99 ms": ("latency_p99", "{:.2f}", 1e3),
}
# On unbalanced test sets, beside the accuracy.
BALANCE = {
    "balanced accuracy %": ("balanced_accuracy", "{:.2f}", 100),
    "largest class %": ("largest_class_share", "{:.2f}", 100),
}
RELATIVE = "x baseline"  # the column of relative training speeds


def render(groups: Sequence[Group], style: str, view: str = "summary") -> str:
    """All `groups` in one of :data:`zoo.render.document.FORMATS`, ending in a newline.

    `view`: one of :data:`VIEWS`, for tables to read. CSV and JSON hold every metric.
    """
    if style == "json":
        return as_json([group.record() | {"notes": notes_of(group, view)} for group in groups])
    if style == "csv":
        return as_csv([_flat(row, group) for group in groups for row in group.rows])
    return "\n".join(document(title_of(group), rows_of(group, view), notes_of(group, view), style) for group in groups)


def groups_html(groups: Iterable[Group]) -> str:
    """For a notebook: one table per group, with the title and the notes that ``zoo compare`` prints, all escaped."""
    parts = []
    for group in groups:
        notes = "<br>\n".join(escape(note) for note in notes_of(group, "summary"))
        table = table_of(rows_of(group, "summary"), "html")
        parts += [f"<p><b>{escape(title_of(group))}</b></p>", table, f"<p><small>{notes}</small></p>"]
    return "\n".join(parts)


def rows_of(group: Group, view: str) -> list[dict[str, str]]:
    """The cells of the table of `group`, by column."""
    rows = []
    compared = any(row.against for row in group.rows)
    parted = len(group.machines) > 1 or any(row.elsewhere for row in group.rows)
    balance = BALANCE if any(row.largest_class_share for row in group.rows) else {}
    for row in group.rows:
        cells = {
            "model": row.model,
            "norm": row.norm or "-",
            "test accuracy %": accuracy_of(row) + marks_of(row.caveats),
            **{title: metric(row, *how) for title, how in balance.items()},
            "seeds": seed_words(row.seeds),
            **(differences.cells(row.against, row.selection) if compared else {}),
            **VIEWS[view](row, compared),
        }
        if group.seconds_to is not None:
            cells[f"s to {100 * group.seconds_to:g} %"] = speed(row, "seconds_to", "{:,.0f}")
        if parted:
            cells["machine"] = row.machine + ELSEWHERE_MARK * (row.elsewhere > 0)
        if len(group.code) > 1:
            cells["code"] = code_of(row)
        rows.append(cells | row.differs)
    return rows


def title_of(group: Group) -> str:
    """The line above the table of `group`."""
    if group.mixed:
        return "MIXED: these runs differ in more than their model, so that the order ranks nothing"
    whose = ", for each model" if group.budget else ""
    views = f", logits the {group.views}" if group.views else ""
    return f"{group.dataset}, recipe {group.slug}{whose}, {group.precision}, {group.chosen}{views}"


def speed(row: Row, name: str, shape: str, factor: float = 1.0) -> str:
    """A speed of `row` with its quartiles and its mark."""
    return marks.speed(getattr(row, name), row.quartiles.get(name), name in row.disturbed, shape, factor)


def relative_speed(row: Row) -> str:
    """The training speed as a multiple of the baseline's; a dash where the two cannot be compared."""
    if row.relative_speed is None or row.relative_speed_error is None:
        return "-"
    return f"{row.relative_speed:.2f} ± {row.relative_speed_error:.2f}"


def _summary(row: Row, compared: bool) -> dict[str, str]:
    cells = {"parameters": f"{row.parameters:,}", "MACs (M)": f"{row.macs / 1e6:.1f}"}
    for title, (name, shape, factor) in SPEEDS.items():
        cells[title] = speed(row, name, shape, factor)
        if compared and name == "train_images_per_second":
            cells[RELATIVE] = relative_speed(row)
    return cells | {"peak MiB": number(row.peak_memory_bytes, "{:,.0f}", 1 / 2**20)}


def _quality(row: Row, compared: bool) -> dict[str, str]:
    cells = {"worst seed %": worst_seed(row)}
    cells |= {title: metric(row, *how) for title, how in METRICS.items()}
    return cells | {"activations KiB": number(row.activation_bytes, "{:,.0f}", 1 / 2**10)}


def _differences(row: Row, compared: bool) -> dict[str, str]:
    found = differences.found_from(row.against)
    return found | {title: _shift(row, name, shape, factor) for title, (name, shape, factor) in METRICS.items()}


VIEWS = {"summary": _summary, "quality": _quality, "differences": _differences}


def accuracy_of(row: Row) -> str:
    """Test accuracy in percent with its interval, and which seeds diverged."""
    diverged = ", ".join(f"seed {seed} diverged at epoch {epoch}" for seed, epoch in row.diverged.items())
    if row.accuracy is None or row.interval is None:
        return diverged
    text = accuracy(row.accuracy, row.interval, row.interval_kind)
    return f"{text} ({diverged})" if diverged else text


def worst_seed(row: Row) -> str:
    """The lowest accuracy of a row's seeds in percent, and whose it is; a seed that diverged is the worst."""
    lowest = "diverged" if row.worst_accuracy is None else percent(row.worst_accuracy)
    return f"{lowest} (seed {row.worst_seed})"


def diverged_of(row: Row) -> str:
    """How many of a row's seeds diverged, in words; empty where none did."""
    return f"{len(row.diverged)} of {len(row.seeds)} diverged" if row.diverged else ""


def _shift(row: Row, name: str, shape: str, factor: float) -> str:
    """What a metric differs by from the baseline's, with its p-value."""
    if row.against is None or name not in row.against.quality:
        return "-"
    shift = row.against.quality[name]
    signed = shape if "+" in shape else shape.replace(":", ":+")
    text = f"{signed.format(factor * shift.difference)} {half_width(shift.interval, shape, factor)}"
    return f"{text} (p {p_value(shift.p_value)})"


def metric(row: Row, name: str, shape: str, factor: float = 1.0) -> str:
    """A metric of `row` with its interval over seeds."""
    return number(getattr(row, name), shape, factor) + plus_minus(row, name, shape, factor)


def plus_minus(row: Row, name: str, shape: str, factor: float = 1.0) -> str:
    """The interval over seeds of a metric of quality, to be written after it; empty where the row has none."""
    return f" {half_width(row.intervals[name], shape, factor)}" if name in row.intervals else ""


def notes_of(group: Group, view: str) -> list[str]:
    """The lines below the table of `group` in this `view`."""
    notes = interval_notes({row.interval_kind for row in group.rows}, "seeds vary too, so no winner is claimed")
    notes += test_notes(group, view)
    if group.mixed:
        notes.append(
            f"The last {len(group.rows[0].differs)} columns: all that the runs differ in besides model and seed."
        )
    if group.budget is not None:
        notes.append(
            f"The last {len(group.budget['over'])} columns: each model's own values, chosen on held-out images "
            f"under the same budget: {words_of(group.budget)}"
        )
    if group.seconds_to is not None:
        notes.append(
            f"s to {100 * group.seconds_to:g} %: seconds of training, evaluation left out, until the selection split's "
            "accuracy was there; '-' where a seed never was, or went on with other hardware or software. Median over "
            "seeds."
        )
    notes += mark_notes(*(row.caveats for row in group.rows))
    notes += code_notes(group)
    notes += speed_notes(group, view == "summary")
    elsewhere = any(row.elsewhere for row in group.rows)
    if len(group.machines) > 1 or elsewhere:
        notes.append("Speeds compare only between rows with the same machine letter.")
        notes += [ELSEWHERE] * elsewhere
        notes += [f"Machine {letter}: {words}." for letter, words in group.machines.items()]
    elif view == "summary" or group.seconds_to is not None:
        notes += [f"Speeds on {words}." for words in group.machines.values()]
    return notes


def speed_notes(group: Group, shown: bool = True) -> list[str]:
    """What stands beside the speeds of `group`, which are `shown`, or of which only the seconds to an accuracy are."""
    notes = [marks.QUARTILES_NOTE] * (shown and any(row.quartiles for row in group.rows))
    notes += marks.disturbed_notes(
        *(row.disturbed if shown else {"seconds_to"} & {*row.disturbed} for row in group.rows)
    )
    left_out = [f"{max(row.left_out.values())} of {row.model}" for row in group.rows if row.left_out]
    if left_out and (shown or group.seconds_to is not None):
        notes.append(f"Speeds leave out disturbed runs where a model has others: {', '.join(left_out)}.")
    if shown and (baseline := next((row.against.baseline for row in group.rows if row.against), None)):
        notes.append(
            f"{RELATIVE}: training speed over that of {baseline}, ± half the interquartile range of the ratio; '-' "
            "where the machines differ or a speed was disturbed."
        )
    return notes


def test_notes(group: Group, view: str) -> list[str]:
    """What differences, p-values and verdicts are, where the rows have any."""
    compared = [row.against for row in group.rows if row.against]
    notes = differences.notes(compared)
    if group.tuned and any(against.p_value is not None for against in compared):
        notes.append("Verdicts are of these tuned values: tuning again could give others.")
    if compared and view == "differences":
        notes.append(
            "The columns after the verdict: the metric minus the baseline's, p corrected for all rows and metrics."
        )
    return notes


def _flat(row: Row, group: Group) -> dict[str, object]:
    record = row.record()
    record |= record.pop("differs")
    for name in QUALITY:
        record[f"{name}_low"], record[f"{name}_high"] = row.intervals.get(name, (None, None))
    del record["intervals"]
    record = marks.flat_speeds(record, QUARTILED)
    record["left_out"] = " ".join(f"{name}:{count}" for name, count in row.left_out.items())
    low, high = record.pop("interval") or (None, None)
    shifts = (record.pop("against") or {}).get("quality", {})
    for name in QUALITY:
        shift = shifts.get(name) or {"difference": None, "interval": (None, None), "p_value": None}
        record[f"{name}_difference"], record[f"{name}_p_value"] = shift["difference"], shift["p_value"]
        record[f"{name}_difference_low"], record[f"{name}_difference_high"] = shift["interval"]
    record["diverged"] = " ".join(f"{seed}@{epoch}" for seed, epoch in row.diverged.items())
    record["accuracies"] = " ".join("-" if value is None else repr(value) for value in row.accuracies)
    names = ("dataset", "recipe", "recipe_fingerprint", "dataset_fingerprint", "precision")
    return {
        **{name: getattr(group, name) for name in names},
        **record,
        "interval_low": low,
        "interval_high": high,
        **differences.fields(row.against),
        "machine": group.machines[row.machine],
        "code": by_code(row, group.code),
        "budget": words_of(group.budget) if group.budget else None,
    }
