"""The page marks the speeds that something disturbed, and nothing on it is ranked by them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_results import result, training
from web_browser import wait
from web_runs import make_run

from zoo.render import marks
from zoo.results.folder import find_results, load_all
from zoo.web.charts import tradeoffs
from zoo.web.data import tables
from zoo.web.writer import write_report

TRAIN = "train_images_per_second"
# The disturbed one is the fastest and the most accurate.
CASES = [
    result("a_bn", 0, 9000, **training(400, 600, 900), speed__latency_quartiles=(0.0033, 0.0034)),
    result("b_gn", 0, 8000, **training(99, 100, 101), speed__inference_quartiles=(2200.0, 2300.0)),
    result("c_ln", 0, 7000, **training(145, 150, 154)),
]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """As :data:`CASES`, on the disk."""
    for case in CASES:
        speed = {f"speed__{name}": value for name, value in case.speed.model_dump().items()}
        size = 10_000 * case.test.correct
        make_run(tmp_path / "runs", case.model.norm or "", 0, case.test.correct // 40, model__parameters=size, **speed)
    return tmp_path


def test_page(stored: Path) -> None:
    write_report(load_all(find_results([stored / "runs"])), stored / "report", "resnet20_gn")
    pages = {name: (stored / "report" / f"{name}.html").read_text(encoding="utf-8") for name in ("index", "speed")}
    (run,) = (stored / "report" / "runs").glob("resnet20_bn-*.html")
    for text in (*pages.values(), run.read_text(encoding="utf-8")):
        assert "600 (400-900)‡" in text
        assert marks.DISTURBED_NOTE in text
        assert marks.QUARTILES_NOTE in text
    cells = re.findall(rf'<td class="number[^>]*data-key="{TRAIN}"([^>]*)>([^<]*)<', pages["index"])
    # A sort puts a cell without a value last, as it does a speed that is missing.
    assert cells == [
        ("", "600 (400-900)‡"), (' data-value="100.0"', "100 (99-101)"), (' data-value="150.0"', "150 (145-154)"),
    ]  # fmt: skip
    assert ">1.50 ± 0.05<" in pages["index"]
    bars = re.findall(r"--share:([\d.]+)", pages["speed"])
    assert bars[:2] == ["1.0", "1.0"]  # of the first row: the inference and the latency, not the training speed


def test_no_front_rests_on_a_disturbed_speed(stored: Path) -> None:
    charts = tradeoffs(tables(load_all(find_results([stored / "runs"]))))
    assert charts["disturbed"] == {"mark": marks.DISTURBED_MARK, "note": marks.DISTURBED_NOTE}
    (table,) = charts["tables"]
    assert [point["model"] for point in table["points"]] == ["resnet20_bn", "resnet20_gn", "resnet20_ln"]
    assert [point["disturbed"] for point in table["points"]] == [[TRAIN], [], []]
    assert table["fronts"][TRAIN] == {"a": [1, 2]}
    assert table["fronts"]["inference_images_per_second"] == {"a": [0]}


def test_charts_show_the_mark(page, stored: Path) -> None:
    write_report(load_all(find_results([stored / "runs"])), stored / "report", "resnet20_gn")
    page.get((stored / "report" / "tradeoffs.html").as_uri())
    told = wait(page, "document.getElementById('note-speed').textContent")
    assert told.startswith(f"On the front: resnet20_gn, resnet20_ln. {marks.DISTURBED_NOTE}")
    chart = "document.getElementById('chart-{}').data.slice(1).map(t => [t.text[0].trim(), t.marker.symbol[0]])"
    names, symbols = zip(*page.execute_script(f"return {chart.format('speed')}"), strict=True)
    assert names == ("resnet20_bn‡", "resnet20_gn", "resnet20_ln")
    assert [symbol.endswith("-open") for symbol in symbols] == [True, False, False]
    names, _ = zip(*page.execute_script(f"return {chart.format('size')}"), strict=True)
    assert names == ("resnet20_bn", "resnet20_gn", "resnet20_ln")  # parameters were not disturbed

    page.get((stored / "report" / "curves.html").as_uri())
    lines = "document.getElementById('chart').data?.map(t => t.name).join()"
    wait(page, f"{lines} === 'resnet20_bn seed 0,resnet20_gn seed 0,resnet20_ln seed 0'")
    assert not page.find_element("id", "disturbed").is_displayed()
    page.find_element("css selector", "[name=against] [value=seconds]").click()
    wait(page, f"{lines} === 'resnet20_bn seed 0‡,resnet20_gn seed 0,resnet20_ln seed 0'")
    assert page.find_element("id", "disturbed").text == marks.DISTURBED_NOTE
