"""How a difference from a baseline is written, whatever table it is in: cells, notes, and fields for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from zoo.comparison.baseline import Difference
from zoo.comparison.verdict import POWER
from zoo.render.marks import half_width, marks_of, number, p_value, percent
from zoo.results.schema import Caveats


def cells(against: Difference | None, selection: str) -> dict[str, str]:
    """A row's difference in points, p-value and verdict; None is the baseline's own. `selection` chose the weights."""
    p = p_value(against.p_value if against else None)
    return {"difference": difference(against), "p": p, "verdict": verdict(against, selection)}


def difference(against: Difference | None) -> str:
    """A row's difference in points with its interval, where it has one."""
    if against is None:
        return "-"
    spread = f" {half_width(against.interval)}" if against.interval is not None else ""
    return number(against.difference, "{:+.2f}", 100) + spread


def verdict(against: Difference | None, selection: str) -> str:
    """A verdict as tables show it: with the marks of the row's accuracy and of the baseline's."""
    if against is None:
        return "baseline"
    if against.p_value is None:  # why there is none
        return against.verdict
    return f"{against.verdict} {marks_of(Caveats(selection, against.batch_dependent))}".rstrip()


def found_from(against: Difference | None) -> dict[str, str]:
    """The true difference that is found with a probability of :data:`zoo.comparison.verdict.POWER`."""
    return {"found from": percent(against.detectable if against else None)}


def notes(compared: Sequence[Difference], columns: int = 1) -> list[str]:
    """What the differences of a table are, which tests so many `columns`; nothing where it has none."""
    if not compared:
        return []
    first = f"Difference: points from {compared[0].baseline}"
    detectable = [against.detectable for against in compared if against.detectable is not None]
    if not detectable:
        return [f"{first}."]
    rows = max(against.family for against in compared)
    family = f"{rows} row{'s' * (rows != 1)}" + f" and {columns} columns" * (columns > 1)
    return [
        f"{first} with its 95 % interval; interval and p are of Dunnett's and Welch's tests, corrected for {family}.",
        f"A true difference of {percent(max(detectable))} points is found with a probability of {100 * POWER:g} %.",
        "Verdicts are corrected for this baseline only: another baseline over the same runs is another family.",
    ]


def fields(against: Difference | None) -> dict[str, object]:
    """All but the other metrics and the mark, without nesting; None is the baseline's own."""
    left_out = ("interval", "shifts", "batch_dependent")
    names = [field.name for field in dataclasses.fields(Difference) if field.name not in left_out]
    low, high = (against.interval if against else None) or (None, None)
    numbers: dict[str, object] = {name: getattr(against, name, None) for name in names}
    return numbers | {"difference_low": low, "difference_high": high}
