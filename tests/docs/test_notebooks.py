"""docs/notebooks.md: its cells run in a real kernel, in an empty folder, and a cell's `!` gets plain lines."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from notebooks import execute

nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel")
pytest.importorskip("plotly", reason="`zoo report` needs plotly")

PAGE = Path(__file__).parents[2] / "docs" / "notebooks.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<cell>.*?)^```$", re.DOTALL | re.MULTILINE)

slow = pytest.mark.slow  # half a minute: every command of a cell is a process that imports torch


def cells() -> list[str]:
    """What the page has a reader run anywhere."""
    return [match["cell"] for match in BLOCK.finditer(PAGE.read_text()) if match["kind"] == "python"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, zoo_cache: Path, module_cli: Any) -> SimpleNamespace:
    """The page as a notebook after its execution, and the folder."""
    folder = tmp_path_factory.mktemp("notebook")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells()])
    execute(book, folder, module_cli.environment | {"ZOO_CACHE": str(zoo_cache)})
    return SimpleNamespace(book=book, folder=folder)


def outputs_of(ran: SimpleNamespace, beginning: str) -> list[Any]:
    """The outputs of each cell that begins so, one after the other."""
    found = [cell.outputs for cell in ran.book.cells if cell.source.startswith(beginning)]
    assert found, beginning
    return [output for outputs in found for output in outputs]


def text_of(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


@slow
def test_every_cell_runs(ran: SimpleNamespace) -> None:
    assert [cell.source for cell in ran.book.cells if any(part.output_type == "error" for part in cell.outputs)] == []


@slow
def test_the_environment_is_recognised(ran: SimpleNamespace) -> None:
    everything = text_of([output for cell in ran.book.cells for output in cell.outputs])
    assert "to be installed: nothing" in everything
    assert "no restart needed" in everything


@slow
def test_progress_in_a_cell_is_a_plain_line_an_epoch(ran: SimpleNamespace) -> None:
    """A cell's `!` is a terminal: a bar would be stored ten times a second."""
    outputs = outputs_of(ran, "!zoo bench")
    text = text_of(outputs)
    assert "\x1b" not in text
    assert "\r" not in text.replace("\r\n", "\n")
    assert len(re.findall(r"^ +[12]/2 ", text, re.MULTILINE)) == 4  # two models, two epochs
    assert len(outputs) < 30
    assert text.count("was done before") == 2  # of the second time


@slow
def test_tables_plots_and_the_report_are_shown_inline(ran: SimpleNamespace) -> None:
    (table,) = outputs_of(ran, "import zoo\n\nzoo.compare")
    assert "resnet20_gn" in table["data"]["text/html"]
    (frame,) = outputs_of(ran, "zoo.load_results")
    assert "accuracy" in frame["data"]["text/html"]
    (image,) = outputs_of(ran, "from IPython.display import Image")
    assert "image/png" in image["data"]
    (page,) = outputs_of(ran, "from html import escape")
    assert page["data"]["text/html"].startswith("<div><iframe srcdoc=")
    assert "resnet20_gn" in page["data"]["text/html"]


def test_the_versions_that_the_page_names_are_those_of_setup_cfg() -> None:
    """Quick: no kernel."""
    listed = re.findall(r'"(\w+)": "([\d.]+)"', cells()[0])
    required = (PAGE.parents[1] / "setup.cfg").read_text().partition("install_requires =")[2].partition("\n\n")[0]
    assert listed
    for name, version in listed:
        assert re.search(rf"^ +{name} >= {re.escape(version)}\b", required, re.MULTILINE), name
