"""Comparison groups as tables, HTML, CSV or JSON: what title, caption, cells and notes say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from html import escape
from typing import NamedTuple

from zoo.comparison.groups import Group
from zoo.comparison.row import QUALITY, Row
from zoo.registry.alike import alike
from zoo.render import differences, marks
from zoo.render.code import by_code, code_notes
from zoo.render.columns import (
    COLUMNS,
    ELSEWHERE_MARK,
    OTHER_SPEEDS,
    RELATIVE,
    RESULTS,
    SHIFTS,
    TRAIN_SPEED,
    chosen,
    in_order,
    parted,
)
from zoo.render.document import as_csv, as_json, document, table_of, without_equal
from zoo.render.headings import titles
from zoo.render.marks import interval_notes, mark_notes
from zoo.render.shown import Shown
from zoo.render.tuning import words_of
from zoo.results.disturbed import QUARTILED

ELSEWHERE = f"Machine letter with {ELSEWHERE_MARK}: other seeds of that row ran elsewhere; its speeds leave them out."
SHIFTED = frozenset(column.key for column in SHIFTS)
SPEEDS = frozenset(column.key for column in (TRAIN_SPEED, *OTHER_SPEEDS))
EVERY_KEY = frozenset(column.key for column in COLUMNS) - SHIFTED  # what notes for programs are about
WORDS = ("model", "norm", "verdict", "machine", "code")  # columns that begin at the left
USUAL = Shown()


class Table(NamedTuple):
    """A group for people. `caption`: what is equal in all rows, and no column therefore."""

    title: str
    caption: str
    rows: list[dict[str, str]]
    notes: list[str]


def render(groups: Sequence[Group], style: str, shown: Shown = USUAL) -> str:
    """All `groups` in one of :data:`zoo.render.document.FORMATS`, ending in a newline.

    `shown`: the columns and the order of the rows. CSV holds every field unless a view or columns are chosen, JSON
    unless columns are. Raises :class:`~zoo.errors.UnknownNameError` for a column that there is not.
    """
    if style == "json":
        return as_json([_record(group, shown) | {"notes": notes_of(group)} for group in groups])
    if style == "csv":
        return as_csv([record for group in groups for record in _records(group, shown)])
    return "\n".join(
        document(table.title, table.rows, table.notes, style, WORDS, table.caption) for table in tables(groups, shown)
    )


def groups_html(groups: Sequence[Group], shown: Shown = USUAL) -> str:
    """For a notebook: one table per group, with the title and the notes that ``zoo compare`` prints, all escaped."""
    parts = []
    for table in tables(groups, shown):
        caption = f"<br>\n{escape(table.caption)}" if table.caption else ""
        notes = "<br>\n".join(map(escape, table.notes))
        parts += [f"<p><b>{escape(table.title)}</b>{caption}</p>", table_of(table.rows, "html", WORDS)]
        parts.append(f"<p><small>{notes}</small></p>")
    return "\n".join(parts)


def tables(groups: Sequence[Group], shown: Shown = USUAL) -> list[Table]:
    """Each of `groups` as it is shown. What is equal in all rows goes to the caption, unless columns were named.

    Raises :class:`~zoo.errors.UnknownNameError` for a column that there is not.
    """
    return [_table(group, shown, title) for group, title in zip(groups, titles(groups), strict=True)]


def _table(group: Group, shown: Shown, title: str) -> Table:
    columns = chosen(group, shown, lambda row: _flat(row, group))
    rows = [{column.title: column.text(row) for column in columns} for row in in_order(group, shown)]
    kept = [column.title for column in columns if shown.columns or column.key in RESULTS]
    notes = alike_notes(group) + notes_of(group, {column.key for column in columns})
    rows, caption = without_equal(rows, kept)
    return Table(title, caption, rows, notes)


def notes_of(group: Group, keys: Collection[str] = EVERY_KEY) -> list[str]:
    """The lines below the table of `group` that has the columns with these `keys`."""
    notes = interval_notes({row.interval_kind for row in group.rows}, "seeds vary too, so no winner is claimed")
    notes += verdict_notes(group, keys)
    names = ", ".join(group.rows[0].differs)
    if group.mixed:
        notes.append(f"{names}: all that the runs differ in besides model and seed.")
    if group.budget is not None:
        notes.append(
            f"{names}: each model's own values, chosen on held-out images under the same budget: "
            f"{words_of(group.budget)}"
        )
    if group.seconds_to is not None:
        notes.append(
            f"s to {100 * group.seconds_to:g} %: seconds of training, evaluation left out, until the selection split's "
            "accuracy was there; '-' where a seed never was, or went on with other hardware or software. Median over "
            "seeds."
        )
    notes += mark_notes(*(row.caveats for row in group.rows))
    notes += code_notes(group)
    notes += speed_notes(group, keys)
    if parted(group):
        notes.append("Speeds compare only between rows with the same machine letter.")
        notes += [ELSEWHERE] * any(row.elsewhere for row in group.rows)
        notes += [f"Machine {letter}: {words}." for letter, words in group.machines.items()]
    elif not SPEEDS.isdisjoint(keys) or group.seconds_to is not None:
        notes += [f"Speeds on {words}." for words in group.machines.values()]
    return notes


def speed_notes(group: Group, keys: Collection[str] = EVERY_KEY) -> list[str]:
    """What stands beside the speeds of `group` that are columns; the seconds to an accuracy are one of every table."""
    timed = SPEEDS.intersection(keys) | {"seconds_to"}
    notes = [marks.QUARTILES_NOTE] * any(timed & row.quartiles.keys() for row in group.rows)
    notes += marks.disturbed_notes(*(timed.intersection(row.disturbed) for row in group.rows))
    left_out = [f"{max(row.left_out.values())} of {row.model}" for row in group.rows if row.left_out]
    if left_out and (len(timed) > 1 or group.seconds_to is not None):
        notes.append(f"Speeds leave out disturbed runs where a model has others: {', '.join(left_out)}.")
    baseline = next((row.against.baseline for row in group.rows if row.against), None)
    if baseline and "relative_speed" in keys:
        notes.append(
            f"{RELATIVE}: training speed over that of {baseline}, ± half the interquartile range of the ratio; '-' "
            "where the machines differ or a speed was disturbed."
        )
    return notes


def verdict_notes(group: Group, keys: Collection[str] = EVERY_KEY) -> list[str]:
    """What differences, p-values and verdicts are, where the rows have any."""
    shown = not {"difference", "p_value", "verdict"}.isdisjoint(keys)
    against = [row.against for row in group.rows if row.against and shown]
    notes = differences.notes(against)
    if group.tuned and any(difference.p_value is not None for difference in against):
        notes.append("Verdicts are of these tuned values: tuning again could give others.")
    if against and not SHIFTED.isdisjoint(keys):
        notes.append(
            "The columns after the verdict: the metric minus the baseline's, p corrected for all rows and metrics."
        )
    return notes


def alike_notes(group: Group) -> list[str]:
    """Which norms of the rows are the same function in some layers of one architecture."""
    models = [row.runs[0].result.model.definition for row in group.rows]
    distinct = {id(model): model for model in models}.values()  # many rows have one object
    pairs = ((model.get("architecture"), model.get("norm")) for model in distinct)
    return alike((architecture, norm) for architecture, norm in pairs if architecture and norm)


def diverged_of(row: Row) -> str:
    """How many of a row's seeds diverged, in words; empty where none did."""
    return f"{len(row.diverged)} of {len(row.seeds)} diverged" if row.diverged else ""


def _record(group: Group, shown: Shown) -> dict[str, object]:
    group = replace(group, rows=in_order(group, shown))
    rows: dict[str, object] = {"rows": _records(group, shown)} if shown.columns else {}
    return group.record() | rows


def _records(group: Group, shown: Shown) -> list[dict[str, object]]:
    """The rows for programs, without nesting: every field, or those of the columns that are asked for."""
    records = [_flat(row, group) for row in in_order(group, shown)]
    if not (shown.view or shown.columns):
        return records
    names = [column.key for column in chosen(group, shown, lambda row: _flat(row, group))]
    if not shown.columns:
        names = ["dataset", "recipe", "recipe_fingerprint", *names]
    return [{name: record.get(name) for name in names} for record in records]


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
