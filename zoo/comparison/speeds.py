"""The speeds of one row: of the runs on its machine that nothing disturbed, and one row's speed over another's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.results import history
from zoo.results.disturbed import disturbed
from zoo.results.folder import Stored
from zoo.results.history import load_history
from zoo.utils.stats import Range

SPEEDS = ("train_images_per_second", "inference_images_per_second", "latency_p50", "latency_p99")


@dataclass(frozen=True)
class Speeds:
    """Of one row, by the names that the speeds have there.

    `medians` are None where no run gives them; `seconds_to` is among them. `quartiles`: those of the runs' quartiles
    taken together. `disturbed`: the speeds for which these lie too far apart. `left_out`: how many disturbed runs a
    speed is not of, since others were not disturbed.
    """

    medians: dict[str, float | None]
    quartiles: dict[str, Range]
    disturbed: list[str]
    left_out: dict[str, int]


def speeds_of(timed: Sequence[Stored], seconds_to: float | None) -> Speeds:
    """The speeds of a row whose runs on its machine are `timed`; `seconds_to` is an accuracy, 0 to 1.

    A disturbed run counts only where all were disturbed. Raises :class:`zoo.errors.ResultError` for damaged histories.
    """
    medians: dict[str, float | None] = {}
    quartiles: dict[str, Range] = {}
    left_out: dict[str, int] = {}
    beside: list[str] = []  # of other runs these speeds were measured, in all runs
    parts = [(run.result.speed, run.result.speed.quartiles, set(run.result.speed.disturbed)) for run in timed]
    for name in SPEEDS:
        having = [
            (median, spans.get(name), name in marked)
            for speed, spans, marked in parts
            if (median := getattr(speed, name)) is not None
        ]
        used = [(median, span) for median, span, marked in having if not marked]
        if not used:
            used = [part[:2] for part in having]
            beside += [name] * any(speed.runs_at_a_time for speed, *_ in parts)
        medians[name] = statistics.median(median for median, _ in used) if used else None
        if len(used) < len(having):
            left_out[name] = len(having) - len(used)
        # Its three quartiles stand for a run, however many windows it had.
        if points := [end for median, span in used if span for end in (span[0], median, span[1])]:
            low, _, high = statistics.quantiles(points, n=4)  # of one run: its own
            quartiles[name] = low, high
    medians["seconds_to"] = None if seconds_to is None else _seconds_to(timed, seconds_to)
    return Speeds(medians, quartiles, disturbed(quartiles, medians.get, beside), left_out)


def ratio(median: float, span: Range, base: float, base_span: Range) -> tuple[float, float]:
    """One speed over another, and half the interquartile range of that ratio.

    The quartiles of the two are taken to lie evenly about their medians, and the two speeds to vary independently.
    """
    halves = [(high - low) / (2 * middle) for middle, (low, high) in ((median, span), (base, base_span))]
    return median / base, median / base * math.hypot(*halves)


def _seconds_to(runs: Sequence[Stored], accuracy: float) -> float | None:
    """The median over seeds of the seconds of training until `accuracy`, all of which came so far, on one machine."""
    # Without an epoch there is no history.
    begun = [run for run in runs if run.result.epochs_trained and run.result.moved_after is None]
    reached = [(run, history.seconds_to(load_history(run.folder.history), accuracy)) for run in begun]
    seconds = [(run, number) for run, number in reached if number is not None]
    quiet = [number for run, number in seconds if "train_images_per_second" not in run.result.speed.disturbed]
    return statistics.median(quiet or [number for _, number in seconds]) if len(seconds) == len(runs) else None
