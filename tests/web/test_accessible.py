"""The page for everyone: no finding of axe, enough contrast, hints without a mouse, the verdict on a phone.

axe-core (MPL-2.0, 650 kB) is not part of this repository; ``npm install --no-save axe-core`` puts it where it is found.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from web_browser import resize, wait
from web_runs import RECIPE, make_run, make_runs

from zoo.render.figures import COLOURS
from zoo.render.marks import HINTS
from zoo.results.folder import find_results, load_all
from zoo.web.writer import OVERVIEWS, Writer, fixed_files, write_report

AXE = Path(os.environ.get("AXE_CORE", Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"))
VIEWS = [(theme, width) for theme in ("light", "dark") for width in (1280, 390)]
SERIOUS = """
const [done] = arguments;
const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
axe.run(document, { runOnly, preload: false, resultTypes: ["violations"] }).then(({ violations }) => done(
  violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.slice(0, 3).map((node) => `${id}: ${node.target} ${node.failureSummary}`))));
"""


def contrast(page: Any, colours: str) -> list[float]:
    """The contrast of each pair of CSS colours that the expression gives."""
    return page.execute_script(f"""
        const canvas = new OffscreenCanvas(1, 1).getContext("2d", {{ willReadFrequently: true }});
        const light = (colour) => {{
          canvas.clearRect(0, 0, 1, 1);
          canvas.fillStyle = colour;
          canvas.fillRect(0, 0, 1, 1);
          const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
        }};
        return ({colours}).map((pair) => pair.map(light).sort((a, b) => b - a)).map(([a, b]) => a / b);""")


def set_theme(page: Any, theme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": theme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made runs with a baseline, and ``empty``, that of no run."""
    folder = tmp_path_factory.mktemp("accessible")
    runs = make_runs(folder / "runs")
    for seed in range(3):  # the longest names and notes that a row may have
        make_run(runs, "mine_with_a_long_name", seed, 190 + seed, model__batch_dependent=256, model__parameters=400_000)
    run = make_run(folder / "runs", "bn", 0, 240)
    (run.path / "explain").mkdir()
    (run.path / "explain" / "confusion.png").write_bytes(b"\x89PNG")
    write_report(load_all(find_results([runs])), folder / "report", "resnet20_bn")
    empty = folder / "empty"
    for name, content in (*fixed_files(), *(Writer().overview(name, []) for name in OVERVIEWS)):
        (empty / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 25 tables, of which 20 are open."""
    folder = tmp_path_factory.mktemp("tables")
    for rate in range(25):
        content = RECIPE | {"optimizer": RECIPE["optimizer"] | {"lr": 0.2 + rate}}
        make_run(folder / "runs", "bn", 0, 200, recipe__content=content)
    write_report(load_all(find_results([folder / "runs"])), folder / "report")
    return folder / "report"


def findings(page: Any, address: str, theme: str, width: int) -> list[str]:
    """What axe finds on the page with its charts drawn and all that can be opened open."""
    set_theme(page, theme)
    resize(page, width)
    page.get(address)
    wait(page, "document.readyState === 'complete'")
    if page.execute_script("return document.querySelector('.chart') !== null"):
        wait(page, "document.querySelector('.chart .main-svg') !== null")
    page.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true })")
    page.execute_script("document.querySelector('[data-hint]')?.focus()")
    page.execute_script(AXE.read_text(encoding="utf-8"))
    return page.execute_async_script(SERIOUS)


QUICK = {("index", "light", 1280), ("index", "dark", 390), ("run", "dark", 1280), ("tradeoffs", "light", 390)}


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core here: npm install --no-save axe-core")
@pytest.mark.parametrize(
    ("name", "theme", "width"),
    [
        pytest.param(name, theme, width, marks=[] if (name, theme, width) in QUICK else pytest.mark.slow)
        for name in (*OVERVIEWS, "run", "diverged", "empty", "many")
        for theme, width in VIEWS
    ],
)
def test_axe_has_no_serious_finding(
    page, built: Path, request: pytest.FixtureRequest, name: str, theme: str, width: int
) -> None:
    report = built / "report"
    if name == "many":
        path = request.getfixturevalue("many") / "index.html"
    elif name == "empty":
        path = built / "empty" / "index.html"
    elif name in OVERVIEWS:
        path = report / f"{name}.html"
    else:
        (path,) = (report / "runs").glob("resnet20_bn-seed2-*" if name == "run" else "resnet20_gn-seed1-*")
    assert findings(page, path.as_uri(), theme, width) == []


BORDERS = """[...document.querySelectorAll('*')].filter(part => part.checkVisibility()).flatMap(part => {
  const style = getComputedStyle(part), clear = 'rgba(0, 0, 0, 0)';
  let ground = part.parentElement;
  while (ground && getComputedStyle(ground).backgroundColor === clear) ground = ground.parentElement;
  return ['Top', 'Bottom', 'Left', 'Right'].filter(side => parseFloat(style[`border${side}Width`]))
    .map(side => style[`border${side}Color`]).filter(colour => colour !== clear)
    .map(colour => [colour, getComputedStyle(ground ?? document.body).backgroundColor]);
})"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_borders_lines_and_points_have_a_contrast_of_three(page, built: Path, theme: str) -> None:
    """Borders of inputs and tables had 1.3:1; two colours of the charts had 2.3:1 on white."""
    set_theme(page, theme)
    names = [*(f"c{number}" for number in range(len(COLOURS))), "shade", "shade-bad", "accent", "edge"]
    page.get((built / "report" / "tradeoffs.html").as_uri())
    ground = "getComputedStyle(document.body).backgroundColor"
    drawn = contrast(page, f"{names}.map(name => [zoo.colour(name), {ground}])")
    assert {name: ratio for name, ratio in zip(names, drawn, strict=True) if ratio < 3} == {}
    (run,) = (built / "report" / "runs").glob("resnet20_bn-seed2-*")
    for path in (built / "report" / "index.html", built / "report" / "curves.html", run):
        page.get(path.as_uri())
        borders = contrast(page, BORDERS)
        assert len(borders) > 10
        assert min(borders) >= 3, path.name


def test_hints_show_by_mouse_keyboard_and_touch(page, built: Path) -> None:
    """They were title attributes, which a phone never shows."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.get((built / "report" / "index.html").as_uri())
    assert page.find_elements("css selector", "[title]") == []
    hint, head = page.find_element("id", "hint"), "section.board th[data-key=parameters] button"
    assert not hint.is_displayed()
    page.execute_script(f"document.querySelector('{head}').focus()")
    assert hint.text == "trained parameters; lower is better"
    assert page.find_element("css selector", head).get_attribute("aria-describedby") == "hint"
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert not hint.is_displayed()
    (marked, *_) = page.find_elements("css selector", "button.mark")
    page.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", marked)
    ActionChains(page).move_to_element(marked).perform()
    assert hint.text == HINTS[marked.text]
    ActionChains(page).move_to_element(page.find_element("tag name", "h1")).perform()
    assert not hint.is_displayed()

    resize(page, 390)
    box = page.execute_script(
        "arguments[0].scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });"
        "const box = arguments[0].getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2]", marked,
    )  # fmt: skip
    points = [{"x": box[0], "y": box[1]}]
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait(page, "!document.getElementById('hint').hidden")
    left, right = page.execute_script("const box = document.getElementById('hint').getBoundingClientRect();"
                                      "return [box.left, box.right]")  # fmt: skip
    assert 0 <= left < right <= 390


def test_accuracy_and_verdict_are_in_sight_on_a_phone(page, built: Path) -> None:
    """The verdict was 300 pixels beyond the edge."""
    resize(page, 390)
    page.get((built / "report" / "index.html").as_uri())
    edges = page.execute_script("""return [...document.querySelectorAll('td[data-key=verdict], td[data-key=accuracy]')]
        .map(cell => [cell.getBoundingClientRect().right, cell.scrollWidth - cell.clientWidth, cell.textContent])""")
    assert any("worse" in words for _, _, words in edges)
    assert [(right, words) for right, over, words in edges if right > 390 or over > 0] == []
    lefts = page.execute_script("return [...document.querySelectorAll('td[data-key=accuracy]')].map(cell =>"
                                "[cell.previousElementSibling.previousElementSibling.getBoundingClientRect().right,"
                                " cell.getBoundingClientRect().left])")  # fmt: skip
    assert all(model <= accuracy + 1 for model, accuracy in lefts)  # the model's name covers none of it
