"""The plan of a sweep as a table, with totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.render.document import document
from zoo.results.schema import hardware
from zoo.runner.estimate import OVER, Estimate, at_a_time
from zoo.utils.text import counted, duration

SLOTS = (1, 4, 16)  # runs at a time that the totals are said for


def render(plans: Mapping[str, Sequence[Estimate]], environment: Mapping[str, Any]) -> str:
    """Each recipe's runs under its heading, then what is left of all; ends in a newline.

    `environment`: the machine that the estimates are for.
    """
    tables = [
        document(heading, [_cells(run) for run in planned], [], "text", left=("model", "state"))
        for heading, planned in plans.items()
    ]
    totals = _totals([run for planned in plans.values() for run in planned], environment)
    return "".join([*tables, *(f"{line}\n" for line in totals)])


def _cells(run: Estimate) -> dict[str, str]:
    where = {"begun": f", epoch {run.epoch} of {run.epochs}", "diverged": f" at epoch {run.epoch}"}
    left = "?" if run.seconds is None else f"{'~' * run.scaled}{duration(run.seconds)}"
    return {
        "model": run.model,
        "seed": str(run.seed),
        "state": run.state + where.get(run.state, ""),
        "left": "-" if run.state in OVER else left,
    }


def _totals(planned: Sequence[Estimate], environment: Mapping[str, Any]) -> list[str]:
    left = [run for run in planned if run.state not in OVER]
    begun = sum(run.state == "begun" for run in left)
    words = f", {begun} begun" if begun else ""
    lines = [f"{counted(len(planned), 'run')}: {len(planned) - len(left)} done{words}, {len(left) - begun} to do."]
    seconds = [run.seconds for run in left if run.seconds is not None]
    unknown = list(dict.fromkeys(run.model for run in left if run.seconds is None))
    machine = hardware(environment)
    if seconds:
        least = "at least " if unknown else ""
        many = (environment["runs_at_a_time"],) if environment.get("runs_at_a_time") else SLOTS
        times = [f"{least}{duration(at_a_time(seconds, slots))} with {slots} at a time" for slots in many]
        lines.append(f"Left: {', '.join(times)}, on {machine}.")
    if any(run.scaled for run in left):
        lines.append("~: no run of this model is stored; scaled by MACs from runs of other models on such a machine.")
    if unknown:
        lines.append(
            f"?: no estimate; there is no undisturbed earlier run on such a machine ({machine}) in this precision. "
            "A bench measures the speed before its first run."
        )
    return lines
