"""Every output marks a speed that something disturbed, with one mark and one note, and ranks nothing by it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from made_results import compare, result, training

from zoo.comparison import row
from zoo.comparison.groups import Group
from zoo.render import marks
from zoo.render import speed as zoo_speed
from zoo.render.columns import RELATIVE, TRAIN_SPEED
from zoo.render.comparison import groups_html, notes_of, render
from zoo.render.plots import pareto
from zoo.render.shown import Shown
from zoo.runner.measure import Speed

TRAIN = "train_images_per_second"
# The disturbed one is the fastest and the most accurate.
CASES = [
    result("a_bn", 0, 9000, **training(400, 600, 900), speed__latency_quartiles=(0.0033, 0.0034)),
    result("b_gn", 0, 8000, **training(99, 100, 101), speed__inference_quartiles=(2200.0, 2300.0)),
    result("c_ln", 0, 7000, **training(145, 150, 154)),
]


def group(baseline: str | None = None) -> Group:
    (only,) = compare(CASES, baseline)
    return only


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_tables(style: str) -> None:
    text = render([group("b_gn")], style, Shown("cost"))
    if style == "latex":
        for command, read in (
            (r"\item[\ddag]", "‡"),
            (r"\tnote{\ddag}", "‡"),
            (r"\pm", "±"),
            ("--", "-"),
            (r"\_", "_"),
        ):
            text = text.replace(command, read)
    assert text.count(marks.DISTURBED_NOTE) == text.count(marks.QUARTILES_NOTE) == 1
    table = text.replace(marks.DISTURBED_NOTE, "")
    assert table.count(marks.DISTURBED_MARK) == 1
    for cell in ("600 (400-900)‡", "100 (99-101)", "2,222 (2,200-2,300)", "3.33 (3.30-3.40)", "1.50 ± 0.05"):
        assert cell in table, cell
    assert text.count("over that of b_gn") == 1


def test_only_what_is_shown_has_notes() -> None:
    quality = render([group()], "text", Shown("quality"))
    assert marks.DISTURBED_MARK not in quality
    assert "(quartiles)" not in quality
    quiet = render(compare(CASES[1:]), "text", Shown("all"))
    assert marks.DISTURBED_MARK not in quiet
    assert RELATIVE not in quiet


def test_csv_and_json_have_quartiles_and_marks_as_fields() -> None:
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(render([group("b_gn")], "csv")))}
    assert [rows[model]["disturbed"] for model in ("a_bn", "b_gn", "c_ln")] == [TRAIN, "", ""]
    assert (rows["a_bn"][f"{TRAIN}_low"], rows["a_bn"][f"{TRAIN}_high"]) == ("400.0", "900.0")
    assert (rows["a_bn"]["inference_images_per_second_low"], rows["a_bn"]["relative_speed"]) == ("", "")
    assert float(rows["c_ln"]["relative_speed"]) == 1.5
    (table,) = json.loads(render([group("b_gn")], "json"))
    shown = {row["model"]: row for row in table["rows"]}
    assert shown["a_bn"]["disturbed"] == [TRAIN]
    assert shown["b_gn"]["quartiles"] == {TRAIN: [99, 101], "inference_images_per_second": [2200.0, 2300.0]}
    assert (shown["a_bn"]["relative_speed"], shown["c_ln"]["relative_speed"]) == (None, 1.5)


def test_notebook() -> None:
    html = groups_html([group()])
    assert "600 (400-900)‡" in html
    assert html.count(marks.DISTURBED_NOTE) == 1


def test_runs_that_are_left_out_are_counted() -> None:
    seeds = [result("a_bn", 1, **training(99, 100, 101)), result("a_bn", 2, **training(99, 100, 102)), CASES[0]]
    (some,) = compare(seeds)
    (cell,) = map(TRAIN_SPEED.text, some.rows)
    assert cell.startswith("100 (")
    assert "‡" not in cell
    assert "Speeds leave out disturbed runs where a model has others: 1 of a_bn." in notes_of(some)


def test_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fronts: list[list[Any]] = []
    front = row.pareto_front

    def seen(points: list[Any], *, smaller: bool) -> list[int]:
        fronts.append(points)
        return front(points, smaller=smaller)

    monkeypatch.setattr(row, "pareto_front", seen)
    pareto.draw(group(), ("speed", "parameters"), 2, tmp_path / "a.svg")
    # By speed and by parameters to choose, by speed to draw: the sizes are equal.
    assert [points[0] is None for points in fronts] == [True, False, True]
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "label of a_bn‡" in drawn
    assert "label of b_gn‡" not in drawn
    assert f"<!-- {marks.DISTURBED_NOTE[:30]}" in drawn
    pareto.draw(group(), ("parameters",), 2, tmp_path / "b.svg")
    assert marks.DISTURBED_MARK not in (tmp_path / "b.svg").read_text(encoding="utf-8")


def measured(**changes: Any) -> Speed:
    """What `zoo speed` might have measured."""
    return Speed(
        **{
            "model": "a_bn", "norm": "bn", "precision": "fp32", "batch_size": 8, "layout": "nchw",
            "executor": "batched", "compiled": False, TRAIN: 500.0, "step_images_per_second": 510.0,
            "efficiency": 0.98, "windows": 19, "compile_seconds": None, "inference_images_per_second": 2222.0,
            "inference_batch_size": 32, "latency_p50": 0.00333, "latency_p90": 0.004, "latency_p99": 0.005,
            "device_peak_bytes": None, "resident_peak_bytes": None, "parameters": 1, "macs": 10**6,
            "activation_bytes": 2048, "step_flops": 3e9, "peak_share": 0.5, "quartiles": {}, "disturbed": [],
        } | changes
    )  # fmt: skip


def test_zoo_speed() -> None:
    spans = {TRAIN: (400.0, 700.0), "efficiency": (0.97, 0.99), "latency_p50": (0.003, 0.0034)}
    speeds = [measured(quartiles=spans, disturbed=[TRAIN])]
    environment = {"malloc": None, "torch": "2.9", "cpu": "CPU one", "cores": 2, "threads": 2}
    text = zoo_speed.render(speeds, "text", environment, 1e12)
    for cell in (
        "500 (400-700)‡",
        "0.980 (0.970-0.990)",
        "3.33 (3.00-3.40)",
        marks.DISTURBED_NOTE,
        marks.QUARTILES_NOTE,
    ):
        assert cell in text, cell
    (record,) = json.loads(zoo_speed.render(speeds, "json", environment, 1e12))["models"]
    assert record["quartiles"][TRAIN] == [400.0, 700.0]
    assert record["disturbed"] == [TRAIN]
    (row,) = csv.DictReader(io.StringIO(zoo_speed.render(speeds, "csv", environment, 1e12)))
    assert (row[f"{TRAIN}_low"], row[f"{TRAIN}_high"], row["disturbed"]) == ("400.0", "700.0", TRAIN)
    assert zoo_speed.trains_at(speeds[0]) == "trains at 500 (400-700)‡ img/s, loop/step 0.980 (0.970-0.990)"
