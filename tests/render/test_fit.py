"""Tables in a terminal: nothing is torn, and no line is longer than it can be, whatever the rows and the width are."""

from __future__ import annotations

import random
import re

import pytest
from made_results import OTHER, OTHER_SLUG, STANDARD, STANDARD_SLUG, compare, result, training
from printed_tables import table
from rich.cells import cell_len

from zoo.cli import options
from zoo.render.comparison import render, tables
from zoo.render.fit import BREAK, fit, wrap
from zoo.render.shown import VIEWS, Shown
from zoo.results.schema import Result

WIDTHS = range(60, 161, 7)
LONG = "timm:vit_base_patch16_clip_224.openai_ft_in12k_in1k@evos0"


def many(seed: int) -> list[Result]:
    """Runs of many seeds, names, machines and commits, some of which diverged; of several recipes."""
    draw = random.Random(seed)
    names = [
        "resnet20_bn",
        LONG,
        "a_b",
        "größe_bn",
        "模型_bn",
        *(f"resnet20_n{n}" for n in range(draw.randrange(1, 9))),
    ]
    runs = []
    for name in names:
        first = draw.randrange(3) * draw.randrange(40)
        for number in range(first, first + draw.choice([1, 2, 3, 3, 12])):
            correct = None if draw.random() < 0.1 else draw.randrange(7000, 9999)
            low = draw.uniform(10, 90_000)
            changes = training(low, low * draw.uniform(1, 1.1), low * draw.uniform(1.1, 1.6))
            changes |= {"git": {"commit": f"{draw.randrange(3)}" * 40, "dirty": draw.random() < 0.2}}
            changes |= {"environment__cpu": f"CPU {draw.randrange(3)}", "model__parameters": draw.randrange(10**9)}
            changes |= {"model__batch_dependent": draw.choice([None, 256])}
            runs.append(result(name, number, correct, **changes))
    return [*runs, result("resnet20_bn", 0, 9000, recipe__content=OTHER)]


@pytest.mark.parametrize("seed", range(3))
def test_no_table_is_torn_or_longer_than_it_can_be(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    groups = compare(many(seed), "resnet20_bn")
    for view in (None, *VIEWS):
        for columns in WIDTHS:
            monkeypatch.setenv("COLUMNS", str(columns))
            text = render(groups, "text", Shown(view))
            words = set(text.split())
            for shown in tables(groups, Shown(view)):
                cells = [cell for row in shown.rows for pair in row.items() for cell in pair]
                told = [*cells, shown.title, shown.caption, *shown.notes]
                assert not {word for line in told for word in line.split()} - words
                assert all(chunk in text for cell in cells for chunk in BREAK.split(cell))
            longest = max(cell_len(word) for word in words)
            assert max(map(cell_len, text.splitlines())) <= max(columns, longest + 2)


@pytest.mark.parametrize("columns", [*WIDTHS, 400])
def test_the_parts_of_a_table_are_the_whole(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    groups = compare([run for run in many(5) if run.model.name.isascii()], "resnet20_bn")
    monkeypatch.setenv("COLUMNS", str(columns))
    for view in (None, *VIEWS):
        whole = tables(groups, Shown(view))[0].rows
        assert table(render(groups, "text", Shown(view)), "text") == whole


def test_a_verdict_is_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    runs = [result(f"resnet20_{norm}", seed, hits + seed) for norm, hits in (("bn", 9000), ("bn_ghost", 9003))
            for seed in range(3)]  # fmt: skip
    (part, *_) = (block for block in render(compare(runs, "resnet20_bn"), "text").split("\n\n") if "---" in block)
    assert re.search(r"resnet20_bn_ghost +90.04 ± .* equal within 1 points \(n=3\)", part)
    assert max(map(len, part.splitlines())) <= 80


def test_each_part_has_the_columns_that_tell_its_rows_apart() -> None:
    rows = [{"model": "a", "mode": mode, "x": "1" * 30, "y": "2" * 30} for mode in ("running", "batch")]
    assert fit(rows, ("model", "mode"), 60).count("running") == 2
    assert fit(rows[:1], ("model", "mode"), 60).count("running") == 1
    assert fit([], ("model",), 60) == ""


@pytest.mark.parametrize(
    "together",
    ["81.69 ± 0.35", "444 (409-454)‡", "not significant (n=3)", "(p < 0.001)", "95 %", "[-1, 64, 32, 32]", "3 (2,"],
)
def test_what_is_read_together_stays_together(together: str) -> None:
    assert together in wrap(f"word {together} word", 1)
    assert wrap("a note that is long", 6, "  ") == ["a note", "  that", "  is", "  long"]


def test_what_is_equal_in_all_rows_is_in_the_caption() -> None:
    runs = [result(model, seed, 9000 + 10 * seed) for model in ("m_bn", "m_ln") for seed in range(3)]
    for style in ("text", "markdown", "latex"):
        text = render(compare(runs), style)
        assert "In all rows: seeds 3; parameters 1,234,567; train img/s 1,111" in " ".join(text.split())
        assert list(table(text, style)[0]) == ["model", "test accuracy %"]
        assert "In all rows" not in render(compare(runs[:3]), style), "of one row"
        named = render(compare(runs), style, Shown(columns=("parameters",)))
        assert list(table(named, style)[0]) == ["model", "parameters"], "what is named stays a column"


def test_the_hash_stands_behind_what_tells_tables_apart() -> None:
    groups = compare([result(), result(recipe__content=OTHER)])
    titles = {shown.title for shown in tables(groups)}
    for content, slug in ((STANDARD, STANDARD_SLUG), (OTHER, OTHER_SLUG)):
        usual = f"{content['epochs']} epochs, 45,000 images, batch size {content['batch_size']}"
        assert f"cifar10, recipe standard: {usual}, fp32, best epoch on holdout ({slug})" in titles


def test_verdicts_have_a_colour_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = "a  better (n=3)\nb  worse (n=5)\nc  not significant (n=3)\n"
    options.echo_tables(text)
    assert capsys.readouterr().out == text
    monkeypatch.setattr("click._compat.isatty", lambda stream: True)
    for style, no_colour, coloured in (("text", "", 2), ("csv", "", 0), ("text", "1", 0)):
        monkeypatch.setenv("NO_COLOR", no_colour)
        options.echo_tables(text, style)
        assert capsys.readouterr().out.count("\x1b[0m") == coloured
