"""The seeds that are needed, in the formats of the comparison."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Sequence

from zoo.comparison.power import POWER, Need
from zoo.render.document import as_csv, as_json, document
from zoo.render.marks import ends, percent, selection_notes, test_mark
from zoo.render.tuning import words_of
from zoo.utils.stats import ALPHA, MIN_SEEDS


def render_power(needed: Sequence[Need], style: str) -> str:
    """A table of `needed`, ending in a newline; CSV and JSON give the spread as a share of the test set."""
    if style == "json":
        return as_json([dataclasses.asdict(need) for need in needed])
    if style == "csv":
        return as_csv([_flat(need) for need in needed])
    blocks = []
    tables: dict[str, list[Need]] = defaultdict(list)
    for need in needed:
        table = (need.dataset_fingerprint, need.recipe, need.budget, need.baseline)
        tables[json.dumps(table, sort_keys=True)].append(need)
    for members in tables.values():
        first = members[0]
        level = ALPHA / first.tests
        notes = [
            f"Seeds (at least {MIN_SEEDS}) with which a paired t-test finds a true difference of so many points with "
            f"probability {POWER:g}, at p < {level:.3g} ({ALPHA} over {first.tests} rows, Holm's first step).",
            "Spread: standard deviation of the paired differences in points, with its 95 % interval.",
        ]
        if first.budget:
            notes.append(f"Each model with its own values, under the same budget: {words_of(first.budget)}")
        notes += selection_notes(first.selection)
        title = f"{first.dataset}, recipe {first.recipe}, against {first.baseline}"
        blocks.append(document(title, [_cells(need) for need in members], notes, style))
    return "\n".join(blocks)


def _cells(need: Need) -> dict[str, str]:
    return {
        "model": need.model + test_mark(need.selection),
        "seeds now": str(need.pairs),
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
