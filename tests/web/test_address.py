"""The address of a page keeps what a reader chose: a copied link shows the same, and "back" undoes a choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from web_browser import choose, wait
from web_runs import EVA, LAPTOP, make_run, make_runs

from zoo.results.folder import find_results, load_all
from zoo.web.writer import write_report


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made runs, and of one model of another size that has no curve."""
    folder = tmp_path_factory.mktemp("address")
    runs = make_runs(folder / "runs")
    make_run(runs, "wide", 0, 230, model__parameters=400_000).history.unlink()
    write_report(load_all(find_results([runs])), folder / "report", "resnet20_bn")
    return folder / "report"


def shown(page: Any) -> list[str]:
    return page.execute_script("return [...document.querySelectorAll('#tables th.model a')].map(link => link.text)")


def copied(page: Any) -> str:
    """The address as another reader opens it."""
    address = page.current_url
    page.get("about:blank")
    page.get(address)
    return address


def test_filters_sort_and_columns_of_the_leaderboard(page, built: Path) -> None:
    page.get((built / "index.html").as_uri())
    whole, plain = shown(page), page.current_url
    choose(page, "recipe", LAPTOP)
    choose(page, "dataset", "cifar10-jpeg")
    page.find_element("css selector", "[name=text]").send_keys("20_")
    page.find_element("css selector", "section.board th[data-key=model] button").click()
    page.find_element("css selector", "section.board th[data-key=model] button").click()
    choose(page, "view", "quality")
    rows = shown(page)
    assert rows == sorted(rows, reverse=True)
    copied(page)
    assert shown(page) == rows
    assert page.find_element("css selector", "[name=text]").get_attribute("value") == "20_"
    assert page.find_element("css selector", "td.view-quality").is_displayed()
    assert page.find_element("css selector", "[data-key=model]").get_attribute("aria-sort") == "descending"
    page.find_element("css selector", "#filters [type=reset]").click()
    wait(page, "!location.search.includes('text')")
    page.back()
    wait(page, "document.querySelector('[name=text]').value === '20_'")
    assert shown(page) == rows
    page.get(plain)
    assert shown(page) == whole


def test_back_undoes_one_choice_at_a_time(page, built: Path) -> None:
    page.get((built / "index.html").as_uri())
    whole = shown(page)
    choose(page, "norm", "ln")
    choose(page, "norm", "gn")
    page.find_element("css selector", "[name=text]").send_keys("resnet")  # six letters are one step
    assert shown(page) == ["resnet20_gn"]
    page.back()
    wait(page, "document.querySelector('[name=text]').value === ''")
    assert shown(page) == ["resnet20_gn"]
    page.back()
    wait(page, "document.querySelector('[name=norm]').value === '=ln'")
    assert shown(page) == ["resnet20_ln"]
    page.back()
    wait(page, "location.search === ''")
    assert shown(page) == whole
    page.forward()
    wait(page, "document.querySelector('[name=norm]').value === '=ln'")
    assert shown(page) == ["resnet20_ln"]


def test_a_choice_that_is_gone_is_none(page, built: Path) -> None:
    page.get((built / "index.html").as_uri())
    whole = shown(page)
    gone = "?norm=%3Dgone&sort=table-gone:accuracy:ascending&only=gone&tables=x&view=gone&whole=gone"
    page.get((built / "index.html").as_uri() + gone)
    assert shown(page) == whole


def test_tables_axes_and_curves(page, built: Path) -> None:
    page.get((built / "speed.html").as_uri())
    page.find_element("css selector", "section.board th[data-key=model] button").click()
    rows = shown(page)
    copied(page)
    assert shown(page) == rows

    page.get((built / "tradeoffs.html").as_uri())
    choose(page, "table", f"cifar10-jpeg, {EVA}")
    page.find_element("css selector", "[name=machine] [value=b]").click()
    choose(page, "axis-speed", "p50 ms")
    note = page.find_element("id", "note-speed").text
    copied(page)
    wait(page, "document.querySelector('#chart-speed .main-svg') !== null")
    assert page.find_element("id", "note-speed").text == note
    title = page.execute_script("return document.getElementById('chart-speed').layout.xaxis.title.text")
    assert title == "p50 ms, lower is better"

    page.get((built / "curves.html").as_uri())
    wait(page, "document.getElementById('chart').dataset.drawn === '3'")
    choose(page, "figure", "learning rate")
    choose(page, "against", "training time")
    page.find_element("css selector", "#runs li:nth-child(1) input").click()
    wait(page, "document.getElementById('chart').dataset.drawn === '2'")
    page.back()
    wait(page, "document.getElementById('chart').dataset.drawn === '3'")
    page.forward()
    page.find_element("id", "find").send_keys("bn")
    copied(page)
    wait(page, "document.getElementById('chart').dataset.drawn === '2'")
    assert page.find_element("id", "find").get_attribute("value") == "bn"
    assert page.execute_script("return document.getElementById('chart').layout.xaxis.ticktext[1]") == "5 s"


def test_a_chart_names_what_it_leaves_out_and_why(page, built: Path) -> None:
    page.get((built / "tradeoffs.html").as_uri())
    wait(page, "document.querySelector('#chart-size .main-svg') !== null")
    axes = "[...document.getElementById('axis-size').options].map(option => option.text)"
    assert page.execute_script(f"return {axes}") == ["parameters"]
    alike = "No chart of MACs (M), which are equal (40.6, 4 models)."
    assert alike in page.find_element("id", "note-size").text
    page.execute_script("document.querySelector('#chart-size ~ details').open = true")
    rows = page.find_elements("css selector", "#chart-size ~ details tbody tr")
    names = [row.find_element("tag name", "a").text for row in rows]
    assert names == ["resnet20_bn", "resnet20_wide", "resnet20_ln", "resnet20_gn"]
    assert rows[3].text.endswith("a seed diverged")
    choose(page, "table", f"cifar10-jpeg, {EVA}")
    assert not page.find_element("id", "chart-size").is_displayed()
    equal = "No chart of parameters, which are equal (270,002, 2 models). No chart of MACs (M), which are equal"
    assert page.find_element("id", "note-size").text.startswith(equal)
    told = page.find_element("id", "note-speed").text
    assert "Not drawn, diverged: resnet20_frn." in told
    assert "Not drawn here, measured on another machine: resnet20_in." in told
    page.get((built / "curves.html").as_uri())
    words = "Without a curve, since history.csv is not in the run's folder: resnet20_wide seed 0."
    assert words in page.find_element("tag name", "main").text
    (run,) = (built / "runs").glob("resnet20_wide-*")
    page.get(run.as_uri())
    assert "There is no learning curve: history.csv" in page.find_element("tag name", "main").text
