"""``zoo report --single-file``: one HTML file with all overviews, which a notebook shows in a frame."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

import pytest
from web_browser import choose, wait

REPOSITORY = Path(__file__).parents[2]
TITLES = {
    "Trade-offs": "Accuracy against cost",
    "Curves": "Learning curves",
    "Speed": "Speed and memory",
    "Leaderboard": "Leaderboard",
}
DRAWN = "document.querySelectorAll('#{} .main-svg').length"


@pytest.fixture(scope="module")
def runs(module_inline) -> Path:
    """Three seeds of two models, committed ones."""
    for model in ("resnet20_bn", "resnet20_ln"):
        table = REPOSITORY / "benchmarks" / "results" / "cifar10-jpeg" / "laptop-5ebfdb2c" / model
        shutil.copytree(table, module_inline.folder / "runs" / "cifar10-jpeg" / "laptop-5ebfdb2c" / model)
    return module_inline.folder / "runs"


@pytest.fixture(scope="module")
def written(runs: Path, module_inline) -> Path:
    """The file, alone in a folder."""
    output = module_inline.ok("report", "--single-file", "--baseline", "resnet20_bn")
    file = runs.parent / "report.html"
    assert output.stdout == f"wrote report.html: 6 runs, {file.stat().st_size / 1e6:.1f} MB\n"
    alone = runs.parent / "alone" / "report.html"
    alone.parent.mkdir()
    return file.rename(alone)


def visit(page) -> None:
    """Every overview by its link, with its charts and tables; then a run's own curve."""
    for link, title in TITLES.items():
        page.find_element("link text", link).click()
        assert page.find_element("css selector", "h1").text == title
        assert page.find_element("css selector", "nav [aria-current]").text == link
        if link == "Trade-offs":
            wait(page, DRAWN.format("chart-speed"))
        if link == "Curves":
            wait(page, DRAWN.format("chart"))
        if link in ("Speed", "Leaderboard"):
            rows = page.find_elements("css selector", "table.sortable tbody tr")
            assert [row.find_element("css selector", "th a").text for row in rows] == ["resnet20_bn", "resnet20_ln"]
    assert "worse" in page.find_element("css selector", "section.board").text
    page.find_element("css selector", "section.board th[data-key=model] button").click()
    page.find_element("css selector", "tbody th a").click()
    wait(page, "document.getElementById('chart')?.dataset.drawn === '1'")
    assert page.find_element("css selector", "#runs input:checked + .name").text.startswith("resnet20_")
    choose(page, "figure", "loss, selection split")
    wait(page, DRAWN.format("chart"))


def test_one_file_has_all_overviews(page, written: Path) -> None:
    assert [path.name for path in written.parent.iterdir()] == ["report.html"]
    page.get(written.as_uri())
    visit(page)


def test_a_notebook_shows_it_in_a_frame(page, written: Path, tmp_path: Path) -> None:
    """As ``IPython.display.HTML`` with the file's text, and ``IFrame`` with its name."""
    text = html.escape(written.read_text(encoding="utf-8"))
    shutil.copyfile(written, tmp_path / "report.html")
    for number, frame in enumerate((f'<iframe srcdoc="{text}"', '<iframe src="report.html"')):
        notebook = tmp_path / f"notebook{number}.html"
        head = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        notebook.write_text(f"{head}{frame} width=1200 height=800></iframe>")
        page.get(notebook.as_uri())
        page.switch_to.frame(0)
        wait(page, "document.querySelectorAll('table.sortable tbody tr').length === 2")
        visit(page)
        page.switch_to.default_content()
        assert page.current_url.endswith(notebook.name)


def test_mistakes_are_one_line(module_inline, runs: Path) -> None:
    (runs.parent / "folder.html").mkdir(exist_ok=True)
    for out, words in (
        ("page", "end its name in .html"),
        ("folder.html", "is a folder"),
        ("no/page.html", "no folder"),
    ):
        output = module_inline("report", "--single-file", "--out", out)
        assert (output.returncode, len(output.lines)) == (2, 1)
        assert words in output.stderr
