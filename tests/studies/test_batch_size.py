"""``zoo study batch-size``: plain runs under plain recipes, one table and one picture of them."""

from __future__ import annotations

import io
import json
import shutil
import struct
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pandas as pd
import pytest
from made_results import compare, result

from zoo.errors import MachineError, ResultError, ZooError
from zoo.recipes.load import load_recipe
from zoo.render.batch_size import render
from zoo.render.figures import check_figure
from zoo.render.plots.batch_size import draw
from zoo.results.folder import find_results, load_all, load_stored
from zoo.studies.batch_size import BatchSizes, batch_size_recipes, batch_sizes, by_size

MODELS = ("resnet20_bn", "resnet20_ln")


@pytest.fixture(scope="module")
def studied(module_inline, tiny) -> SimpleNamespace:
    """Two models at two batch sizes by the command, and the same study read from the runs that it left."""
    output = module_inline.ok("study", "batch-size", *MODELS, "--values", "4,16", *tiny)
    overrides = [word for word in tiny if "=" in word]
    recipes = batch_size_recipes("smoke", overrides, [4, 16], "linear")
    runs = [load_stored(path) for path in find_results([module_inline.folder / "runs"])]
    stored = {size: [run for run in runs if run.result.recipe.content["batch_size"] == size] for size in recipes}
    study = batch_sizes(load_recipe("smoke", overrides), "linear", recipes, stored)
    return SimpleNamespace(cli=module_inline, output=output, folder=module_inline.folder, study=study)


def test_runs_are_those_of_a_plain_bench(studied, tiny) -> None:
    base = load_recipe("smoke")
    records = json.loads(render(studied.study, "json"))
    assert [(record["model"], record["batch_size"]) for record in records] == [
        (model, size) for model in MODELS for size in (4, 16)
    ]
    for record in records:
        assert record["lr"] == pytest.approx(base.optimizer.lr * record["batch_size"] / base.batch_size)
    last = records[-1]
    bench = studied.cli.ok("bench", *MODELS, *tiny, "--set", "batch_size=16", "--set", f"optimizer.lr={last['lr']}")
    assert bench.stderr.count("was done before") == 2
    assert f"smoke-{last['recipe_fingerprint'][:8]}" in bench.stdout
    assert f"{100 * last['accuracy']:.2f}" in bench.stdout


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_table(studied, style: str) -> None:
    text = render(studied.study, style)
    if style == "text":
        assert text == studied.output.stdout
    for record in json.loads(render(studied.study, "json")):
        line = next(line for line in text.replace("\\_", "_").splitlines() if record["model"] in line)
        assert f"{100 * (1 - record['accuracy']):.2f}" in line
    assert "linear rule" in text
    assert "no winner is claimed" in " ".join(text.split())


def test_csv(studied) -> None:
    frame = pd.read_csv(io.StringIO(render(studied.study, "csv")))
    assert frame["accuracy"].tolist() == [record["accuracy"] for record in json.loads(render(studied.study, "json"))]


def test_seeds_are_named_and_batch_dependence_is_marked() -> None:
    (group,) = compare([result("m_ln", 5, model__batch_dependent=256)])
    text = render(BatchSizes("r", "d", 1, "none", 8, ["m_ln"], {8: 0.1}, {8: group}), "text")
    assert "10.00 (9.43 to 10.60), seeds 5§" in text
    assert "§ batch-dependent" in text


def test_other_code_at_one_batch_size_is_said() -> None:
    groups = {
        size: compare([result("m_ln", seed, git={"commit": letter * 9, "dirty": size == 8}) for seed in (0, 1)])[0]
        for size, letter in ((8, "a"), (16, "b"))
    }
    text = render(BatchSizes("r", "d", 1, "none", 8, ["m_ln"], {8: 0.1, 16: 0.2}, groups), "text")
    assert (
        "Different code made these runs, here with models and seeds. commit aaaaaaaa with uncommitted changes: "
        "m_ln (0, 1); commit bbbbbbbb: m_ln (0, 1)." in " ".join(text.split())
    )


def test_picture(studied) -> None:
    content = (studied.folder / "batch-size.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) > (600, 400)
    told, groups = by_size(load_all(find_results([studied.folder / "runs"])))
    assert told == studied.study.about
    for suffix in (".png", ".svg", ".pdf"):
        draw(studied.study.about, studied.study.groups, 2, studied.folder / f"study{suffix}")
        draw(told, groups, 2, studied.folder / f"plot{suffix}")  # `zoo plot batch-size` draws the same
        assert (studied.folder / f"study{suffix}").read_bytes() == (studied.folder / f"plot{suffix}").read_bytes()
    assert (studied.folder / "study.png").read_bytes() == content
    assert (studied.folder / "study.pdf").read_bytes().startswith(b"%PDF")
    ET.parse(studied.folder / "study.svg")


def test_restart_leaves_no_old_run_standing_when_it_is_interrupted(studied, tiny, tmp_path, monkeypatch) -> None:
    shutil.copytree(studied.folder / "runs", tmp_path / "runs")
    assert len(find_results([tmp_path / "runs"])) >= 4

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.runner.sweep.run_one", interrupted)
    command = ("study", "batch-size", *MODELS, "--values", "4,16", *tiny, "--runs", str(tmp_path / "runs"))
    assert studied.cli(*command, "--restart").returncode == 130
    left = [run.result.recipe.content["batch_size"] for run in load_all(find_results([tmp_path / "runs"]))]
    assert not {4, 16} & set(left)


@pytest.mark.parametrize(("rule", "factor"), [("linear", 1 / 4), ("sqrt", 1 / 2), ("none", 1)])
def test_rules(rule: str, factor: float) -> None:
    base = load_recipe("laptop")
    found = batch_size_recipes("laptop", ["epochs=6"], [base.batch_size // 4, base.batch_size], rule)
    small, same = found.values()
    assert small.optimizer.lr == pytest.approx(base.optimizer.lr * factor, rel=1e-5)
    assert small.batch_size == base.batch_size // 4
    assert same.fingerprint == load_recipe("laptop", ["epochs=6"]).fingerprint  # the recipe itself


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--values", "2,x"), ("'2,x'", "whole numbers above 0", "2,8,32,128")),
        (("--values", "0"), ("'0'", "whole numbers above 0")),
        ((), ("--values",)),
        (("--values", "2", "--out", "a.gif"), ("a.gif", "'.gif'", ".png, .svg, .pdf")),
        (("--values", "2", "--out", "no/a.png"), ("no/a.png", "no folder", "make it first")),
        (("--values", "2", "--lr-rule", "line"), ("'line'", "'linear'")),
        (("--values", "100000",), ("batch_size 100000", "training images", "lower it")),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_any_run(inline_cli, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = inline_cli("study", "batch-size", "resnet20_bn", "--recipe", "smoke", *options)
    assert output.returncode == 2
    (line,) = output.lines
    assert line.startswith("zoo: ")
    assert all(word in line for word in words), line
    assert not (inline_cli.folder / "batch-size.png").exists()


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"pip install matplotlib"):
        check_figure(tmp_path / "a.png")
    with pytest.raises(ResultError, match="unknown kind of picture") as caught:
        check_figure(tmp_path / "a.jpg")
    assert isinstance(caught.value, ZooError)
