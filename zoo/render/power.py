"""The seeds that are needed, in the formats of the comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from zoo.comparison.power import Need
from zoo.comparison.verdict import MIN_SEEDS, POWER
from zoo.render.document import as_csv, as_json, document
from zoo.render.marks import ends, percent, selection_notes, test_mark
from zoo.render.tuning import words_of


def render_power(needed: Sequence[Need], style: str) -> str:
    """A table of `needed`, ending in a newline; CSV and JSON give the spread as a share of the test set."""
    if style == "json":
        return as_json([dataclasses.asdict(need) for need in needed])
    if style == "csv":
        return as_csv([_flat(need) for need in needed])
    blocks = []
    for need in needed:
        notes = [
            f"Seeds of each model (at least {MIN_SEEDS}) with which a table of so many rows finds a true difference of "
            f"so many points with probability {POWER:g}.",
            "Spread: standard deviation of a model's seeds in points, pooled over the table, with its 95 % interval; "
            "the seeds are for its upper end.",
        ]
        if need.budget:
            notes.append(f"Each model with its own values, under the same budget: {words_of(need.budget)}")
        notes += selection_notes(need.selection)
        title = f"{need.dataset}, recipe {need.recipe}, against {need.baseline}{test_mark(need.selection)}"
        blocks.append(document(title, [_cells(need)], notes, style))
    return "\n".join(blocks)


def _cells(need: Need) -> dict[str, str]:
    return {
        "rows": str(need.rows),
        "spread": f"{percent(need.spread)} ({ends(need.spread_interval)})",
        **{f"for {size:g}": f"{count:,}" for size, count in need.seeds.items()},
    }


def _flat(need: Need) -> dict[str, object]:
    record = dataclasses.asdict(need)
    low, high = record.pop("spread_interval")
    seeds = record.pop("seeds")
    record["budget"] = words_of(need.budget) if need.budget else None
    record |= {"spread_low": low, "spread_high": high}
    return record | {f"seeds_{size:g}": count for size, count in seeds.items()}
