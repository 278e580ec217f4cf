"""The page in headless Chromium, opened from disk: what a reader does with it, and that nothing leaves its folder."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from web_browser import choose, resize, wait
from web_runs import EVA, RECIPE, make_run, make_runs

from zoo.recipes.recipe import fingerprint_of
from zoo.results.folder import find_results, load_all
from zoo.web import boards
from zoo.web.writer import write_report

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import scale

HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'&amp;"
PAGES = ("index.html", "tradeoffs.html", "curves.html", "speed.html")


@pytest.fixture(scope="module")
def built(module_inline) -> Path:
    """The page of the made runs, and of one whose every name is hostile."""
    runs = make_runs(module_inline.folder / "runs")
    make_run(
        runs, "evil", 0, 100, model__name="a&lt;b>c", model__label=HOSTILE, model__norm=HOSTILE,
        recipe__content__batch_size=512, recipe__name="safe", dataset__classes=[HOSTILE, "bird", "cat"],
        git={"commit": HOSTILE, "dirty": False}, model__definition={"architecture": {"name": HOSTILE}},
    )  # fmt: skip
    module_inline.ok("report", "--baseline", "resnet20_bn")
    return module_inline.folder / "report"


@pytest.fixture(scope="module")
def groups(module_inline, built: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows by recipe, those of the first data set."""
    told = json.loads(module_inline.ok("compare", "--baseline", "resnet20_bn", "--format", "json").stdout)
    return {group["recipe"]: group["rows"] for group in told if group["dataset"] == "cifar10-jpeg"}


def column(page: Any, key: str, board: str = "section.board") -> list[str]:
    """The cells' values in the order shown, of rows that are not hidden."""
    script = f"""return [...document.querySelector('{board}')
        .querySelectorAll('tbody tr:not([hidden]) [data-key={key}]')].map(cell => cell.dataset.value ?? '')"""
    return page.execute_script(script)


def click(page: Any, selector: str) -> None:
    page.find_element("css selector", selector).click()


def test_sort_by_click_and_by_key(page, built: Path, groups) -> None:
    page.get((built / "index.html").as_uri())
    rows = groups["laptop"]
    assert column(page, "model") == [row["model"] for row in rows]
    assert [float(value) for value in column(page, "accuracy")] == [row["accuracy"] for row in rows]
    told = {row["model"]: row["against"] or {"verdict": "baseline"} for row in rows}
    assert column(page, "verdict") == [told[row["model"]]["verdict"] for row in rows]
    head = "section.board th[data-key=parameters]"
    click(page, f"{head} button")
    sizes = [row["parameters"] for row in rows]
    assert [int(value) for value in column(page, "parameters")] == sorted(sizes)
    assert page.find_element("css selector", head).get_attribute("aria-sort") == "ascending"
    click(page, f"{head} button")
    assert page.find_element("css selector", head).get_attribute("aria-sort") == "descending"

    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('section.board th[data-key=verdict] button').focus()")
    ActionChains(page).send_keys(Keys.TAB).send_keys(Keys.ENTER).perform()  # the next head: difference
    assert page.execute_script("return document.activeElement.closest('th').dataset.key") == "difference"
    best = sorted(told.keys() - {"resnet20_bn"}, key=lambda name: -told[name]["difference"])
    assert column(page, "model") == [*best, "resnet20_bn"]  # what has no figure comes last
    ActionChains(page).send_keys(Keys.SPACE).perform()
    assert column(page, "model") == [*reversed(best), "resnet20_bn"]
    assert (
        page.execute_script("return document.querySelectorAll('section.board:first-of-type th[aria-sort]').length") <= 1
    )


def test_filters(page, built: Path) -> None:
    page.get((built / "index.html").as_uri())

    def shown() -> list[str]:
        return page.execute_script(
            "return [...document.querySelectorAll('section.board:not([hidden]) tbody tr:not([hidden]) th.model a')]"
            ".map(link => link.textContent)"
        )

    every = len(shown())
    choose(page, "norm", "ln")
    assert shown() == ["resnet20_ln"]
    assert page.find_element("id", "count").text == f"1 of {every} rows match."
    click(page, "#filters button[type=reset]")
    wait(page, "document.getElementById('count').textContent === ''")
    choose(page, "recipe", EVA)
    assert sorted(shown()) == ["resnet20_bn", "resnet20_frn", "resnet20_in"]
    choose(page, "recipe", "all")
    choose(page, "dataset", "shapes10")
    assert shown() == ["resnet20_bn"]
    choose(page, "dataset", "all")
    choose(page, "architecture", "resnet20")
    assert len(shown()) == every - 1
    choose(page, "norm", HOSTILE)
    assert shown() == []
    click(page, "#filters button[type=reset]")
    page.find_element("css selector", "#filters input[name=text]").send_keys("NET20_G")
    assert shown() == ["resnet20_gn"]
    assert not page.find_element("css selector", "td.view-quality").is_displayed()
    choose(page, "view", "quality")
    assert (
        page.execute_script("return getComputedStyle(document.querySelector('td.view-quality')).display")
        == "table-cell"
    )


def test_open_a_run(page, built: Path, groups) -> None:
    page.get((built / "index.html").as_uri())
    click(page, "section.board .seeds a[aria-label='resnet20_ln seed 2']")
    assert page.find_element("tag name", "h1").text == "resnet20_ln seed 2"
    (row,) = (row for row in groups["laptop"] if row["model"] == "resnet20_ln")
    assert float(page.find_element("id", "accuracy").get_attribute("data-value")) == row["accuracies"][2]
    wait(page, "document.getElementById('chart-accuracy').dataset.drawn === '2'")
    drawn = page.execute_script("return document.getElementById('chart-accuracy').data[0].y")
    assert len(drawn) == 4
    click(page, ".crumbs a")
    assert page.find_element("tag name", "h1").text == "Leaderboard"


def test_theme_follows_the_system_and_is_remembered(page, built: Path) -> None:
    page.get((built / "index.html").as_uri())

    def ground() -> str:
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    click(page, "#theme")
    dark = ground()
    assert light == "rgb(255, 255, 255)" != dark
    click(page, "nav a[href='tradeoffs.html']")
    assert ground() == dark
    assert page.find_element("id", "theme").text == "Light theme"
    before = page.execute_script("return document.getElementById('chart-speed').layout.font.color")
    click(page, "#theme")
    assert ground() == light
    assert page.execute_script("return document.getElementById('chart-speed').layout.font.color") != before
    page.execute_script("localStorage.clear()")
    told = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
    page.refresh()
    assert ground() == dark


def test_curves_are_loaded_when_they_are_chosen(page, built: Path) -> None:
    page.get((built / "curves.html").as_uri())
    wait(page, "document.getElementById('chart').dataset.drawn === '3'")
    loaded = "document.querySelectorAll('script[src^=\"data/\"]').length"
    assert page.execute_script(f"return {loaded}") == 3
    click(page, "#runs li:nth-child(4) input")
    wait(page, "document.getElementById('chart').dataset.drawn === '4'")
    assert page.execute_script(f"return {loaded}") == 4
    assert page.execute_script("return document.activeElement.dataset.run") in page.current_url  # the focus stays
    lines = page.execute_script("return document.getElementById('chart').data.map(t => t.line.color + t.line.dash)")
    assert len(set(lines)) == 4
    page.refresh()  # the address keeps the choice
    wait(page, "document.getElementById('chart').dataset.drawn === '4'")
    choose(page, "figure", "learning rate")
    choose(page, "against", "training time")
    wait(page, "document.getElementById('chart').data[0].x[1] === 20")
    assert page.execute_script("return document.getElementById('chart').data[0].y[0]") == pytest.approx(0.1)


def test_tradeoffs_draw_the_front(page, built: Path, groups) -> None:
    page.get((built / "tradeoffs.html").as_uri())
    told = wait(page, "document.getElementById('note-speed').textContent")
    assert told.startswith("On the front: resnet20_bn.")
    points = page.execute_script("return document.getElementById('chart-speed').data.slice(1).flatMap(t => t.y)")
    assert sorted(points) == pytest.approx(sorted(100 * row["accuracy"] for row in groups["laptop"]))
    choose(page, "table", f"cifar10-jpeg, {EVA}")
    assert page.find_element("css selector", "[name=machine]").is_displayed()
    told = page.find_element("id", "note-speed").text
    assert "Not drawn, diverged: resnet20_frn." in told
    assert "The test set chose" in told
    assert (
        page.execute_script("return document.getElementById('chart-speed').data.slice(1).flatMap(t => t.y).length") == 1
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_scrolls_sideways_and_no_request_leaves_the_folder(page, built: Path, width: int) -> None:
    resize(page, width)
    runs = [f"runs/{path.name}" for path in sorted((built / "runs").iterdir())[:4]]
    for name in (*PAGES, *runs):
        page.get((built / name).as_uri())
        if name in ("tradeoffs.html", "curves.html"):
            wait(page, "document.querySelector('.chart .main-svg') !== null")
        assert page.execute_script("return document.documentElement.scrollWidth") <= width, name
    root = built.as_uri() + "/"
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [told["params"]["request"]["url"] for told in asked if told["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("plotly.min.js") for url in urls)
    assert [url for url in urls if not url.startswith((root, "data:", "blob:", "about:"))] == []


def test_hostile_names_are_text(page, built: Path) -> None:
    page.get((built / "index.html").as_uri())
    texts = "[...document.querySelectorAll('td[data-key=norm]')].map(cell => cell.textContent)"
    assert HOSTILE in page.execute_script(f"return {texts}")
    link = page.find_element("link text", "a&lt;b>c")
    page.execute_script("arguments[0].scrollIntoView()", link)
    page.get(link.get_attribute("href"))
    assert HOSTILE in page.find_element("css selector", ".lead").get_attribute("textContent")
    assert HOSTILE in page.find_element("css selector", ".bars .name").get_attribute("textContent")
    assert page.execute_script("return window.hacked") is None
    page.get((built / "tradeoffs.html").as_uri())
    safe = f"safe-{fingerprint_of(RECIPE | {'batch_size': 512})[:8]}"
    choose(page, "table", f"cifar10-jpeg, {safe}")
    names = "[...document.querySelectorAll('#chart-speed .legendtext')].map(text => text.textContent)"
    assert wait(page, f"{names}.length && {names}") == [HOSTILE]
    labels = "[...document.querySelectorAll('#chart-speed .textpoint text')].map(text => text.textContent.trim())"
    assert page.execute_script(f"return {labels}") == ["a&lt;b>c"]
    page.get((built / "curves.html").as_uri())
    page.find_element("id", "find").send_keys(safe)
    assert "a&lt;b>c seed 0" in page.find_element("id", "runs").text
    assert page.execute_script("return [window.hacked ?? 0, document.querySelectorAll('img').length]") == [0, 0]


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 12 rows in one table and of 5 tables more, where a page holds 6 rows and 3 tables."""
    runs, out = tmp_path_factory.mktemp("many") / "runs", tmp_path_factory.mktemp("page") / "report"
    for number in range(12):
        make_run(runs, f"m{number}", 0, 240 - number)
    for rate in range(5):
        content = RECIPE | {"optimizer": RECIPE["optimizer"] | {"lr": 0.2 + rate}}
        make_run(runs, f"r{rate}", 0, 200, recipe__content=content)
    with pytest.MonkeyPatch.context() as patch:
        for name, most in (("ROWS", 8), ("FEWEST", 1), ("TABLES", 3), ("LISTED", 4)):
            patch.setattr(boards, name, most)
        write_report(load_all(find_results([runs])), out)
    return out


def shown(page: Any) -> list[str]:
    script = "return [...document.querySelectorAll('#tables tbody th.model a')].map(link => link.textContent)"
    return page.execute_script(script)


def test_the_first_rows_and_all_of_them(page, bounded: Path) -> None:
    """All rows were in the document: each sort of 10,000 took 4 s."""
    page.get((bounded / "index.html").as_uri())
    first = [f"resnet20_m{number}" for number in range(6)]
    assert shown(page)[:6] == first
    assert len(shown(page)) == 8
    assert "The first 6 of 12 rows." in page.find_element("css selector", ".board .more").text
    click(page, "section.board th[data-key=accuracy] button")
    click(page, "section.board th[data-key=accuracy] button")  # of all rows the worst
    assert shown(page)[:6] == [f"resnet20_m{number}" for number in range(11, 5, -1)]
    page.find_element("css selector", "#filters input[name=text]").send_keys("m11")
    assert shown(page) == ["resnet20_m11"]
    assert page.find_element("id", "count").text == "1 of 17 rows match."
    click(page, "#filters button[type=reset]")
    wait(page, "document.getElementById('count').textContent === ''")
    page.execute_script("document.querySelector('button.whole').click()")
    assert shown(page)[:12] == [f"resnet20_m{number}" for number in range(11, -1, -1)]
    parts = """return [...document.querySelectorAll('section.board:first-child tbody tr:nth-child({}) *')].map(part => [
        part.tagName,
        part.className, part.title, part.scope, part.href, part.ariaLabel, part.ariaHidden, part.textContent.trim(),
        part.style.getPropertyValue('--mean').trim(),
        ...Object.values(part.dataset).map((text) => isNaN(text) ? text : Number(text))])"""
    made = page.execute_script(parts.format(12))
    page.get((bounded / "index.html").as_uri())  # what the script makes is what the template writes
    assert made == page.execute_script(parts.format(1))


def test_a_table_is_found_by_the_list_the_search_and_its_address(page, bounded: Path) -> None:
    page.get((bounded / "index.html").as_uri())
    titles = "[...document.querySelectorAll('#tables h2')].map(title => title.textContent.split(' laptop')[0])"
    assert len(page.execute_script(f"return {titles}")) == 3
    listed = page.find_elements("css selector", ".contents a")
    assert len(listed) == 4
    click(page, "#listed button")
    links = {link.text.split(" laptop")[0]: link for link in page.find_elements("css selector", ".contents a")}
    assert len(links) == 6
    name = "cifar10-jpeg, learning rate 4.2"
    address = links[name].get_attribute("href")
    links[name].click()
    wait(page, f"{titles}.includes('{name}')")
    page.get("about:blank")
    page.get(address)
    assert name in page.execute_script(f"return {titles}")
    click(page, "#filters button[type=reset]")
    page.find_element("css selector", "#filters input[name=text]").send_keys("rate 3.2")
    assert shown(page) == ["resnet20_r3"]
    (run,) = (bounded / "runs").glob("resnet20_r4-*")
    page.get(run.as_uri())
    click(page, ".crumbs a")
    assert wait(page, f"{titles}.includes('{name}')")


@pytest.mark.parametrize("width", [1280, 390])
def test_titles_filters_and_models_stay_in_sight(page, built: Path, width: int) -> None:
    resize(page, width)
    page.get((built / "index.html").as_uri())
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'; scrollTo(0, document.querySelector"
                        "('section.board tbody').getBoundingClientRect().top + scrollY - 80)")  # fmt: skip
    top = "document.querySelector('{}').getBoundingClientRect().top"
    bar = "document.getElementById('filters').getBoundingClientRect().bottom"
    wait(page, f"Math.abs({top.format('section.board thead')} - {bar}) < 2")
    assert page.execute_script(f"return {top.format('#filters')}") == 0
    left = "document.querySelector('section.board tbody th.model').getBoundingClientRect().left"
    before = page.execute_script(f"return {left}")
    page.execute_script("document.querySelector('section.board .scroll').scrollLeft = 200")
    assert page.execute_script(f"return {left}") == before


def test_what_is_not_in_the_folder_is_told(page, built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "copy")
    for file in (copy / "data").iterdir():
        if "resnet20_ln" in file.name:
            file.unlink()
    page.get((copy / "curves.html").as_uri())
    wait(page, "document.getElementById('chart').dataset.drawn === '2'")
    assert "data/resnet20_ln-seed0" in page.find_element("id", "lost").text
    (run,) = (copy / "runs").glob("resnet20_ln-seed0-*")
    page.get(run.as_uri())
    assert wait(page, "document.getElementById('chart-accuracy').textContent").startswith("data/resnet20_ln-seed0-")
    missing = [entry["message"] for entry in page.get_log("browser")]  # the browser says it too, and nothing else
    assert len(missing) == 2
    assert all("ERR_FILE_NOT_FOUND" in message for message in missing)


def many(runs: Path, count: int, epochs: int) -> None:
    for number in range(count):
        make_run(runs, f"n{number // 5}", number % 5, 150 + number % 100, epochs)


@pytest.mark.slow
def test_five_hundred_runs(page, zoo_cli, tmp_path: Path, figure: Callable[..., None]) -> None:
    many(tmp_path / "runs", 500, 40)
    begun = time.perf_counter()
    told = zoo_cli.ok("report").stdout
    built = time.perf_counter() - begun
    assert "500 runs" in told

    def opened(name: str, ready: str) -> tuple[float, float]:
        """Seconds until it can be read: the first time, and the best of three (other tests run beside this one)."""
        times = []
        for _ in range(3):
            page.get("about:blank")
            begun = time.perf_counter()
            page.get((tmp_path / "report" / name).as_uri())
            wait(page, f"document.readyState === 'complete' && {ready}")
            times.append(time.perf_counter() - begun)
        return times[0], min(times)

    board = opened("index.html", "document.querySelectorAll('section.board tbody tr').length === 100")
    curves = opened("curves.html", "document.getElementById('chart').dataset.drawn === '5'")
    assert page.execute_script("return document.querySelectorAll('script[src^=\"data/\"]').length") == 5
    figure("zoo report, 500 runs of 40 epochs",
           f"built in {built:.1f} s; opened in {board[1]:.2f} s, first {board[0]:.2f} s; "
           f"curves page in {curves[1]:.2f} s, first {curves[0]:.2f} s")  # fmt: skip
    assert built < 20
    assert max(board[1], curves[1]) < 2


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["one table", "N/10 tables"])
def test_the_page_at_10_000_runs(page, zoo_cli, shape: str, figure: Callable[..., None]) -> None:
    """4 s for each sort or cleared filter; no column titles after the first screen."""
    scale.make(zoo_cli.folder / "runs", 10_000, shape)
    zoo_cli.ok("report")
    address = (zoo_cli.folder / "report" / "index.html").as_uri()
    for _ in range(2):
        page.get("about:blank")
        page.get(address)
    (painted,) = page.execute_script(
        "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
    )
    elements = "document.querySelectorAll('*').length"
    whole = page.execute_script(f"return {elements}")
    field = "const field = document.querySelector('#filters [name=text]'); field.value = '{}';"
    field += "field.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    took = {}
    for name, code in {
        "sort": "document.querySelector('section.board th[data-key=parameters] button').click()",
        "sort by name": "document.querySelector('section.board th[data-key=model] button').click()",
        "filter": field.format("ln"),
        "cleared": field.format(""),
    }.items():
        script = (
            f"const begun = performance.now(); {code}; document.body.offsetHeight; return performance.now() - begun"
        )
        took[name] = page.execute_script(script) / 1000
    whole = max(whole, page.execute_script(f"return {elements}"))
    times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
    figure(f"the page of 10,000 runs, {shape}", f"painted in {painted / 1000:.2f} s, {times}, {whole:,} elements")
    assert painted < 2000
    assert max(took.values()) < 0.3
    assert whole < 15_000
