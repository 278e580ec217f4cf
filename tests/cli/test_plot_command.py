"""``zoo plot`` on the committed results: the files it writes, the same bytes each time, and mistakes in one line."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import click
import pytest

from zoo.cli.plot import FORMATS, commands
from zoo.render.figures import SUFFIXES
from zoo.render.plots.sheet import WIDTHS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS, STUDY = BENCHMARKS / "results", BENCHMARKS / "studies" / "batch-size"
THREE = (RESULTS, "--recipe", "laptop-5ebfdb2c")
KINDS = ("pdf", "svg", "png")


@pytest.mark.parametrize(
    ("kind", "given"),
    [("curves", (*THREE, "--lr")), ("pareto", THREE), ("bars", THREE), ("batch-size", (STUDY,))],
)
def test_every_figure_in_every_format_and_the_same_bytes_again(zoo_cli, inline_cli, kind: str, given: tuple) -> None:
    """Again in another process, where sets have another order."""
    output = inline_cli.ok("plot", kind, *given, "--format", "pdf,svg,png", "--columns", "2")
    assert (output.stdout, output.lines) == ("", [f"wrote {kind}.pdf, {kind}.svg, {kind}.png"])
    zoo_cli.ok("plot", kind, *given, "--format", "png,svg,pdf", "--columns", "2", "--out", "again")
    pdf, svg, png = ((zoo_cli.folder / f"{kind}.{suffix}").read_bytes() for suffix in KINDS)
    assert pdf.startswith(b"%PDF")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert ET.fromstring(svg).get("width") == f"{72 * WIDTHS[2]:g}pt"
    assert [(zoo_cli.folder / f"again.{suffix}").read_bytes() for suffix in KINDS] == [pdf, svg, png]
    for content in (pdf, svg, png):
        assert str(zoo_cli.folder).encode() not in content


@pytest.mark.parametrize("suffix", KINDS)
def test_a_name_with_a_suffix_is_the_file(inline_cli, suffix: str) -> None:
    for more in ((), ("--format", suffix)):
        output = inline_cli.ok("plot", "bars", *THREE, "--out", f"my.{suffix}", *more)
        assert output.lines == [f"wrote my.{suffix}"]
    inline_cli.ok("plot", "bars", *THREE, "--format", suffix)
    assert (inline_cli.folder / f"my.{suffix}").read_bytes() == (inline_cli.folder / f"bars.{suffix}").read_bytes()
    assert len(list(inline_cli.folder.glob("*.*"))) == 2


def test_text_is_what_journals_and_latex_take(inline_cli) -> None:
    """No Type 3 fonts, which journals refuse, and no font that the reader of an SVG would have to have."""
    inline_cli.ok("plot", "pareto", *THREE, "--format", "pdf,svg")
    pdf, svg = ((inline_cli.folder / f"pareto.{kind}").read_bytes() for kind in ("pdf", "svg"))
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert b"<text" not in svg


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bars", RESULTS),
         ("these runs have 11: cifar10-jpeg fast-0e7aaea6,", "cifar10-jpeg fast-d92d3e79 and 5 more", "--recipe")),
        (("curves", RESULTS), ("one figure holds one data set and recipe",)),
        (("batch-size", RESULTS), ("differ in more than batch size", "laptop-5ebfdb2c")),
        (("batch-size", *THREE), ("all these runs have batch size 64", "zoo study batch-size")),
        (("bars", *THREE, "--format", "pdf,gif"), ("'gif'", "pdf,svg,png")),
        (("bars", *THREE, "--out", "a.svg", "--format", "svg,png"), ("a.svg", "without .svg", "--format svg,png")),
        (("bars", *THREE, "--out", "a.SVG", "--format", "png"), ("a.SVG", "without .svg", "--format png")),
        (("bars", *THREE, "--out", "no/a"), ("no folder", "make it first")),
        (("bars", *THREE, "--columns", "3"), ("'3'", "'2'")),
        (("bars", *THREE, "--model", "resnet18*"), ("'resnet18*'", "stored runs")),
        (("bars", RESULTS, "--recipe", "laptop-5ebfdb2d"), ("did you mean 'laptop-5ebfdb2c'",)),
        (("bars", RESULTS, "--dataset", "cifar10"), ("'cifar10'", "did you mean 'cifar10-jpeg'")),
        (("bars", "nowhere"), ("no runs in nowhere",)),
        (("bar", *THREE), ("'bar'", "did you mean 'bars'")),
    ],
    ids=lambda value: "-".join(map(str, value[:1])) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_mistakes_are_one_line_and_no_file(inline_cli, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = inline_cli("plot", *arguments)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert line.startswith("zoo: ")
    assert all(word in line for word in words), line
    assert list(inline_cli.folder.iterdir()) == []


def test_without_matplotlib_it_says_what_to_install_before_it_reads_runs(tmp_path: Path) -> None:
    code = (
        "import importlib.util as util, sys\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'matplotlib' else real(name, *more)\n"
        "from zoo.cli.main import main\n"
        "main(['plot', 'bars', 'nowhere'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "zoo: plots need matplotlib, which is not installed; pip install matplotlib\n"


def test_choices_are_those_of_the_figures() -> None:
    assert sorted(f".{kind}" for kind in FORMATS) == sorted(SUFFIXES)
    for command in commands.values():
        (columns,) = (option for option in command.params if option.name == "columns")
        assert isinstance(columns.type, click.Choice)
        assert list(columns.type.choices) == [str(number) for number in WIDTHS]
