"""``zoo compare`` with other columns and in another order, in every format and in Python."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from printed_tables import table

import zoo
from zoo.errors import UnknownNameError
from zoo.render.shown import VIEWS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
CHOICE = ("compare", RESULTS, "--recipe", "laptop-5ebfdb2c", "--baseline", "resnet20_bn")


def columns(text: str, style: str) -> list[str]:
    if style == "csv":
        return list(next(csv.DictReader(io.StringIO(text))))
    return list(json.loads(text)[0]["rows"][0]) if style == "json" else list(table(text, style)[0])


@pytest.mark.parametrize("style", ["text", "markdown", "latex", "csv", "json"])
def test_columns_by_name_are_these_after_the_model(module_inline, style: str) -> None:
    printed = module_inline.ok(*CHOICE, "--columns", "macs,verdict,accuracy,interval_low", "--format", style).stdout
    titles = ["macs", "verdict", "accuracy", "interval_low"]
    if style not in ("csv", "json"):
        titles = ["MACs (M)", "verdict", "test accuracy %", "interval_low"]
    assert columns(printed, style) == ["model", *titles]


@pytest.mark.parametrize("style", ["text", "markdown", "latex", "csv"])
def test_views_have_their_columns(module_inline, style: str) -> None:
    shown = {view: module_inline.ok(*CHOICE, "--view", view, "--format", style).stdout for view in VIEWS}
    said = {view: " ".join([*columns(text, style), *text.split("\n\n")[0].split()]) for view, text in shown.items()}
    of_view = {"cost": ("peak", "p50"), "quality": ("Brier", "gap"), "differences": ("ECE % difference", "found from")}
    if style == "csv":
        of_view = {"cost": ("peak_memory_bytes",), "quality": ("brier",), "differences": ("ece_difference",)}
    for view, words in of_view.items():
        for word in words:
            assert (word in said[view], word in said["all"]) == (True, True), (view, word)
    assert "Brier" not in said["cost"]


def test_json_stays_what_it_is(module_inline) -> None:
    plain = module_inline.ok(*CHOICE, "--format", "json").stdout
    for view in VIEWS:
        assert module_inline.ok(*CHOICE, "--format", "json", "--view", view).stdout == plain


def test_the_usual_columns(module_inline) -> None:
    usual = ["model", "test accuracy %", "seeds", "parameters", "train img/s"]
    text = module_inline.ok("compare", RESULTS, "--recipe", "laptop-9c06139e", COLUMNS="200").stdout
    assert list(table(text, "text")[0])[:5] == usual
    text = module_inline.ok(*(str(part).replace("5ebfdb2c", "9c06139e") for part in CHOICE), COLUMNS="200").stdout
    assert list(table(text, "text")[0])[:7] == [*usual[:3], "difference", "verdict", *usual[3:]]


@pytest.mark.parametrize("style", ["text", "csv", "json"])
def test_rows_in_another_order(module_inline, style: str) -> None:
    def models(*sort: str) -> list[str]:
        text = module_inline.ok("compare", RESULTS, "--recipe", "laptop-9c06139e", *sort, "--format", style).stdout
        if style == "json":
            return [row["model"] for row in json.loads(text)[0]["rows"]]
        read = csv.DictReader(io.StringIO(text)) if style == "csv" else table(text, style)
        return [row["model"] for row in read]

    usual = models()
    assert models("--sort", "accuracy") == usual
    assert models("--sort", "-accuracy") == usual[::-1]
    assert models("--sort", "model") == sorted(usual)
    assert models("--sort", "-model") == sorted(usual, reverse=True)
    assert models("--sort", "parameters")[0] == "resnet20_rms2d", "the fewest are best"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--columns", "acuracy"), ("unknown column 'acuracy'", "did you mean 'accuracy'")),
        (("--sort", "-paramters"), ("unknown column 'paramters'", "did you mean 'parameters'")),
        (("--columns", "xyzzy"), ("unknown column 'xyzzy'", "there are: model, norm, accuracy")),
        (("--columns", ","), ("--columns", "names with commas")),
        (("--view", "costs"), ("'costs'", "'cost'")),
    ],
)
def test_an_unknown_name_is_one_line(module_inline, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = module_inline("compare", RESULTS, *arguments)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert all(word in line for word in words), line


def test_python_has_the_same(module_inline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    comparison = zoo.compare(RESULTS, "resnet20_bn", recipe="laptop-5ebfdb2c")
    chosen = comparison.select(columns=["accuracy", "parameters"], sort="-accuracy")
    for style in ("text", "markdown", "latex", "csv", "json"):
        options = ("--columns", "accuracy,parameters", "--sort", "-accuracy", "--format", style)
        assert chosen.format(style) == module_inline.ok(*CHOICE, *options, COLUMNS="90").stdout
    assert repr(comparison.select("cost")) == module_inline.ok(*CHOICE, "--view", "cost", COLUMNS="90").stdout
    assert "peak MiB" in comparison.select("cost")[:1]._repr_html_()
    assert "peak MiB" not in comparison._repr_html_()
    with pytest.raises(UnknownNameError, match=r"unknown view 'costs'.*'cost'"):
        comparison.select("costs")
    with pytest.raises(UnknownNameError, match="unknown format 'tex'"):
        comparison.format("tex")
