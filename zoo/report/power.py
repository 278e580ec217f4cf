"""The seeds that are needed, in the formats of the comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from zoo.power import POWER, Need
from zoo.report.layout import as_csv, as_json, document
from zoo.report.tables import TEST_MARK, TEST_NOTE
from zoo.stats import ALPHA, MIN_SEEDS


def render_power(needed: Sequence[Need], style: str) -> str:
    """A table of `needed`, ending in a newline; CSV and JSON give the spread as a share of the test set."""
    if style == "json":
        return as_json([dataclasses.asdict(need) for need in needed])
    if style == "csv":
        return as_csv([_flat(need) for need in needed])
    blocks = []
    for dataset, recipe, baseline in dict.fromkeys((need.dataset, need.recipe, need.baseline) for need in needed):
        members = [need for need in needed if (need.dataset, need.recipe) == (dataset, recipe)]
        level = ALPHA / members[0].tests
        notes = [
            f"Seeds (at least {MIN_SEEDS}) with which a paired t-test finds a true difference of so many points with "
            f"probability {POWER:g}, at p < {level:.3g} ({ALPHA} over {members[0].tests} rows, Holm's first step).",
            "Spread: standard deviation of the paired differences in points, with its 95 % interval.",
        ]
        if members[0].selection == "test":
            notes.append(TEST_NOTE)
        title = f"{dataset}, recipe {recipe}, against {baseline}"
        blocks.append(document(title, [_cells(need) for need in members], notes, style))
    return "\n".join(blocks)


def _cells(need: Need) -> dict[str, str]:
    low, high = need.spread_interval
    return {
        "model": need.model + (TEST_MARK if need.selection == "test" else ""),
        "seeds now": str(need.pairs),
        "spread": f"{100 * need.spread:.2f} ({100 * low:.2f} to {100 * high:.2f})",
        **{f"for {size:g}": f"{count:,}" for size, count in need.seeds.items()},
    }


def _flat(need: Need) -> dict[str, object]:
    record = dataclasses.asdict(need)
    low, high = record.pop("spread_interval")
    seeds = record.pop("seeds")
    return (
        record | {"spread_low": low, "spread_high": high} | {f"seeds_{size:g}": count for size, count in seeds.items()}
    )
