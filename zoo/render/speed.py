"""The metrics of ``zoo speed`` as a table, CSV or JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from zoo.render import marks
from zoo.render.document import as_csv, as_json, document, without_equal
from zoo.render.marks import number, recorded_speed
from zoo.results.schema import hardware
from zoo.runner.measure import Speed
from zoo.utils.text import counted


def render(measured: Sequence[Speed], style: str, environment: dict[str, Any], peak_flops: float) -> str:
    """All of `measured`, taken on one machine described by `environment`, ending in a newline."""
    models = [dataclasses.asdict(speed) for speed in measured]
    if style == "json":
        return as_json({"environment": environment, "peak_flops": peak_flops, "models": models})
    if style == "csv":
        return as_csv([marks.flat_speeds(model, model["quartiles"]) for model in models])
    first = measured[0]
    malloc = f", {environment['malloc']}" if environment["malloc"] else ""
    both = any(speed.compile_gain for speed in measured)
    compiled = ", compiled" if first.compiled and not both else ""
    title = (
        f"{hardware(environment)}; torch {environment['torch']}{malloc}, {first.precision}, batch {first.batch_size}, "
        f"{first.executor} augmentation{compiled}"
    )
    notes = [
        marks.QUARTILES_NOTE,
        *marks.disturbed_notes(*(speed.disturbed for speed in measured)),
        "loop/step: median over windows of the real loop's speed over that of the same step on one resident batch.",
        f"% of peak: achieved FLOP/s of the step over {peak_flops / 1e9:,.0f} GFLOP/s of a large matrix product.",
    ]
    if any(speed.compile_seconds for speed in measured):
        notes.append("compile s: the first step, which compiles.")
    if both:
        notes += [
            "x eager: training speed over that of the model not compiled, ± half the interquartile range of the ratio.",
            "pays after: epochs until the time saved is compile s; '-' where it is within the spread or disturbed.",
        ]
    rows, caption = without_equal([_cells(speed, both) for speed in measured], ("model",))
    return document(title, rows, notes, style, left=("model", "layout"), caption=caption)


def pays(speed: Speed) -> str:
    """Whether compiling pays, in words."""
    after = f"pays after {_epochs(speed)}" if speed.pays_after_epochs else "does not pay"
    return f"compiling {after}: {_gain(speed)} times as fast"


def _gain(speed: Speed) -> str:
    error = number(speed.compile_gain_error, "{:.2f}")
    return "-" if speed.compile_gain is None else f"{speed.compile_gain:.2f} ± {error}"


def _epochs(speed: Speed) -> str:
    count = speed.pays_after_epochs
    return "-" if count is None else counted(count, "epoch")


def trains_at(speed: Speed) -> str:
    """The two speeds that say most, in words."""
    record = vars(speed)
    rate = recorded_speed(record, "train_images_per_second", "{:,.0f}")
    return f"trains at {rate} img/s, loop/step {recorded_speed(record, 'efficiency', '{:.3f}')}"


def _cells(speed: Speed, both: bool) -> dict[str, str]:
    record = vars(speed)
    cells = {
        "model": speed.model,
        "layout": speed.layout,
        "train img/s": recorded_speed(record, "train_images_per_second", "{:,.0f}"),
        "step img/s": recorded_speed(record, "step_images_per_second", "{:,.0f}"),
        "loop/step": recorded_speed(record, "efficiency", "{:.3f}"),
        "inference img/s": recorded_speed(record, "inference_images_per_second", "{:,.0f}"),
        "batch": str(speed.inference_batch_size),
        "p50 ms": recorded_speed(record, "latency_p50", "{:.2f}", 1e3),
        "p90 ms": recorded_speed(record, "latency_p90", "{:.2f}", 1e3),
        "p99 ms": recorded_speed(record, "latency_p99", "{:.2f}", 1e3),
        "device MiB": number(speed.device_peak_bytes, "{:,.0f}", 1 / 2**20),
        "resident MiB": number(speed.resident_peak_bytes, "{:,.0f}", 1 / 2**20),
        "activations KiB": f"{speed.activation_bytes / 2**10:,.0f}",
        "MACs (M)": f"{speed.macs / 1e6:.1f}",
        "GFLOP/s": recorded_speed(record, "step_flops", "{:,.0f}", 1e-9),
        "% of peak": recorded_speed(record, "peak_share", "{:.1f}", 100),
    }
    if both:
        compiled = {"compiled": "yes" if speed.compiled else "no"}
        cells = {"model": cells.pop("model")} | compiled | cells
    if both or speed.compile_seconds:
        cells["compile s"] = number(speed.compile_seconds, "{:.0f}")
    return cells | ({"x eager": _gain(speed), "pays after": _epochs(speed)} if both else {})
