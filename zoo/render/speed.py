"""The metrics of ``zoo speed`` as a table, CSV or JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from zoo.render import marks
from zoo.render.document import as_csv, as_json, document
from zoo.render.marks import number
from zoo.results.schema import hardware
from zoo.runner.measure import Speed


def render(measured: Sequence[Speed], style: str, environment: dict[str, Any], peak_flops: float) -> str:
    """All of `measured`, taken on one machine described by `environment`, ending in a newline."""
    models = [dataclasses.asdict(speed) for speed in measured]
    if style == "json":
        return as_json({"environment": environment, "peak_flops": peak_flops, "models": models})
    if style == "csv":
        return as_csv([marks.flat_speeds(model, model["quartiles"]) for model in models])
    first = measured[0]
    malloc = f", {environment['malloc']}" if environment["malloc"] else ""
    compiled = ", compiled" if first.compiled else ""
    notes = [
        f"{hardware(environment)}; torch {environment['torch']}{malloc}, {first.precision}, batch {first.batch_size}, "
        f"{first.executor} augmentation{compiled}.",
        marks.QUARTILES_NOTE,
        *marks.disturbed_notes(*(speed.disturbed for speed in measured)),
        "loop/step: median over windows of the real loop's speed over that of the same step on one resident batch.",
        f"% of peak: achieved FLOP/s of the step over {peak_flops / 1e9:,.0f} GFLOP/s of a large matrix product.",
    ]
    if any(speed.compile_seconds for speed in measured):
        notes.append("compile s: the first step, which compiles.")
    return document(None, [_cells(speed) for speed in measured], notes, style, left=("model", "layout"))


def trains_at(speed: Speed) -> str:
    """The two speeds that say most, in words."""
    rate = _cell(speed, "train_images_per_second", "{:,.0f}")
    return f"trains at {rate} img/s, loop/step {_cell(speed, 'efficiency', '{:.3f}')}"


def _cell(speed: Speed, name: str, shape: str, factor: float = 1.0) -> str:
    return marks.speed(getattr(speed, name), speed.quartiles.get(name), name in speed.disturbed, shape, factor)


def _cells(speed: Speed) -> dict[str, str]:
    cells = {
        "model": speed.model,
        "layout": speed.layout,
        "train img/s": _cell(speed, "train_images_per_second", "{:,.0f}"),
        "step img/s": _cell(speed, "step_images_per_second", "{:,.0f}"),
        "loop/step": _cell(speed, "efficiency", "{:.3f}"),
        "inference img/s": _cell(speed, "inference_images_per_second", "{:,.0f}"),
        "batch": str(speed.inference_batch_size),
        "p50 ms": _cell(speed, "latency_p50", "{:.2f}", 1e3),
        "p90 ms": _cell(speed, "latency_p90", "{:.2f}", 1e3),
        "p99 ms": _cell(speed, "latency_p99", "{:.2f}", 1e3),
        "device MiB": number(speed.device_peak_bytes, "{:,.0f}", 1 / 2**20),
        "resident MiB": number(speed.resident_peak_bytes, "{:,.0f}", 1 / 2**20),
        "activations KiB": f"{speed.activation_bytes / 2**10:,.0f}",
        "MACs (M)": f"{speed.macs / 1e6:.1f}",
        "GFLOP/s": _cell(speed, "step_flops", "{:,.0f}", 1e-9),
        "% of peak": _cell(speed, "peak_share", "{:.1f}", 100),
    }
    return cells | ({"compile s": f"{speed.compile_seconds:.0f}"} if speed.compile_seconds else {})
