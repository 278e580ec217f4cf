"""The seeds that are needed, in the formats of the comparison."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from zoo.power import POWER, Need
from zoo.report.tables import TEST_MARK, TEST_NOTE
from zoo.stats import ALPHA, MIN_SEEDS

STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}


def render_power(needed: Sequence[Need], style: str) -> str:
    """A table of `needed`, ending in a newline; CSV and JSON give the spread as a share of the test set."""
    if style == "json":
        return json.dumps([dataclasses.asdict(need) for need in needed], indent=1) + "\n"
    if style == "csv":
        records = [_flat(need) for need in needed]
        return pd.DataFrame(records).to_csv(index=False, lineterminator="\n")
    blocks = []
    for dataset, recipe, baseline in dict.fromkeys((need.dataset, need.recipe, need.baseline) for need in needed):
        members = [need for need in needed if (need.dataset, need.recipe) == (dataset, recipe)]
        frame = pd.DataFrame([_cells(need) for need in members])
        aligned = ["left", *("right" for _ in frame.columns[1:])]
        table = tabulate(
            frame, headers="keys", showindex=False, tablefmt=STYLES[style], colalign=aligned, disable_numparse=True
        )
        level = ALPHA / members[0].tests
        notes = [
            f"Seeds (at least {MIN_SEEDS}) with which a paired t-test finds a true difference of so many points with "
            f"probability {POWER:g}, at p < {level:.3g} ({ALPHA} over {members[0].tests} rows, Holm's first step).",
            "Spread: standard deviation of the paired differences in points, with its 95 % interval.",
        ]
        title = f"{dataset}, recipe {recipe}, against {baseline}"
        if members[0].selection == "test":
            notes.append(TEST_NOTE)
        prefix = "% " if style == "latex" else ""
        title = f"**{title}**" if style == "markdown" else f"{prefix}{title}"
        blocks.append("\n".join([title, "", table, "", *(f"{prefix}{note}" for note in notes), ""]))
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
