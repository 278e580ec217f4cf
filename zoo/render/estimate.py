"""The plan of a sweep as a table, with totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.render.document import document
from zoo.results.schema import hardware
from zoo.runner.estimate import OVER, Estimate, at_a_time

SLOTS = (1, 4, 16)  # runs at a time that the totals are said for


def render(plans: Mapping[str, Sequence[Estimate]], environment: Mapping[str, Any]) -> str:
    """Each recipe's runs under its heading, then what is left of all; ends in a newline.

    `environment`: the machine that the estimates are for.
    """
    tables = [
        document(heading, [_cells(one) for one in planned], [], "text", left=("model", "state"))
        for heading, planned in plans.items()
    ]
    totals = _totals([one for planned in plans.values() for one in planned], environment)
    return "".join([*tables, *(f"{line}\n" for line in totals)])


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _cells(one: Estimate) -> dict[str, str]:
    return {"model": one.model, "seed": str(one.seed), "state": _state(one), "left": _left(one)}


def _state(one: Estimate) -> str:
    if one.state == "goes on":
        return f"goes on after epoch {one.epoch} of {one.epochs}"
    return f"{one.state}{f' at epoch {one.epoch}' * (one.state == 'diverged')}"


def _left(one: Estimate) -> str:
    if one.state in OVER:
        return "-"
    return "?" if one.seconds is None else f"{'~' * one.scaled}{duration(one.seconds)}"


def _totals(planned: Sequence[Estimate], environment: Mapping[str, Any]) -> list[str]:
    left = [one for one in planned if one.state not in OVER]
    counts = [f"{len(planned)} runs: {len(planned) - len(left)} done"]
    if started := sum(one.state == "goes on" for one in left):
        counts.append(f"{started} begun")
    lines = [", ".join([*counts, f"{len(left) - sum(one.state == 'goes on' for one in left)} to do"]) + "."]
    known = [one.seconds for one in left if one.seconds is not None]
    unknown = list(dict.fromkeys(one.model for one in left if one.seconds is None))
    machine = hardware(environment)
    if known:
        least = "at least " if unknown else ""
        told = [f"{least}{duration(at_a_time(known, slots))} with {slots} at a time" for slots in SLOTS]
        lines.append(f"Left: {', '.join(told)}, on {machine}.")
    if any(one.scaled for one in left):
        lines.append("~: no run of this model is stored; scaled by MACs from the runs of others on such a machine.")
    if unknown:
        lines.append(
            f"?: no run on such a machine ({machine}) in this precision is stored to tell; "
            f"`zoo speed {' '.join(unknown[:3])}` measures img/s."
        )
    return lines
