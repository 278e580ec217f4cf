"""`zoo recipe`, and the mark of a recipe that selects on the test set in everything that is printed."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MARK = "†"


@pytest.fixture(scope="module")
def test_selected(module_inline, tiny) -> tuple[Path, str, str]:
    """A real run whose weights the test set chose: its folder, and what `zoo bench` printed."""
    selection = "selection={split: test, rule: best, metric: accuracy}"
    done = module_inline.ok("bench", "resnet20_bn", *tiny, "--set", selection)
    return next((module_inline.folder / "runs").rglob("seed0")), done.stdout, done.stderr


def test_a_recipe_is_read_without_torch() -> None:
    probe = "import sys, zoo.recipes.load as r; r.load_recipe('fast').tta; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_show(inline_cli, tmp_path):
    text = inline_cli.ok("recipe", "show", "laptop", "--set", "epochs=6").stdout
    shown = yaml.safe_load(text)
    assert shown["epochs"] == 6
    assert shown["split"] == {"holdout": 5000, "seed": 0}  # from `standard`, which laptop extends
    assert text.startswith("# name: laptop\n# fingerprint: ")
    assert MARK not in text
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    output = inline_cli.ok("recipe", "diff", "mine.yaml", "laptop,epochs=6")
    assert output.stdout.startswith("same fingerprint ")
    assert len(output.stdout.splitlines()) == 1


def test_diff(inline_cli):
    lines = inline_cli.ok("recipe", "diff", "laptop", "laptop,epochs=6,optimizer.lr=0.05").stdout.splitlines()
    assert [line.split() for line in lines[2:]] == [["epochs", "12", "6"], ["optimizer.lr", "0.1", "0.05"]]
    told = json.loads(inline_cli.ok("recipe", "diff", "standard", "fast", "--format", "json").stdout)
    assert {"key": "mirror_evaluation", "a": None, "b": True} in told["differences"]
    assert inline_cli.ok("recipe", "diff", "standard", "fast", "--format", "markdown").stdout.startswith("| field")


def test_a_run_and_its_recipe(module_inline, tiny, test_selected):
    run, _, _ = test_selected
    stored = json.loads((run / "result.json").read_text())["recipe"]
    shown = module_inline.ok("recipe", "show", run.relative_to(module_inline.folder)).stdout
    assert f"# fingerprint: {stored['fingerprint']} " in shown
    text = module_inline.ok("recipe", "diff", "smoke", run / "result.json").stdout
    told = {line.split()[0]: line.split()[1:] for line in text.splitlines() if "  " in line}
    assert told["split.train"] == ["3200", "64"]
    assert told["selection.split"] == ["holdout", "test"]
    assert told["precision"] == ["auto", stored["content"]["precision"]]
    assert "precision auto is resolved on each machine" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "laptpo"), ["unknown recipe 'laptpo'", "did you mean 'laptop'"]),
        (("show", "laptop", "--set", "epoch=3"), ["unknown key 'epoch'", "did you mean --set epochs=3?"]),
        (("show", "mine.yaml"), ["mine.yaml", "does not exist", "standard"]),
        (("show", "."), ["no result.json under .", "as soon as it is done"]),
        (("diff", "laptop"), ["Missing argument 'B'"]),
        (("diff", "laptop", "fast", "--format", "csv"), ["'csv'", "'markdown'"]),
        (("shwo",), ["unknown command 'shwo'", "did you mean 'show'"]),
        (("laptop",), ["unknown command 'laptop'", "there are: show, diff"]),
        (
            ("diff", "laptop-5c17bb6d", "laptop"),
            ["laptop-5c17bb6d", "give their folder", "runs/DATASET/laptop-5c17bb6d"],
        ),
    ],
)
def test_mistakes(inline_cli, arguments: tuple[str, ...], says: list[str]):
    output = inline_cli("recipe", *arguments)
    assert (output.returncode, output.stdout) == (2, "")
    assert len(output.lines) == 1
    for part in says:
        assert part in output.stderr


def test_completion(inline_cli):
    output = inline_cli(_ZOO_COMPLETE="bash_complete", COMP_WORDS="zoo recipe diff laptop sta", COMP_CWORD="4")
    assert "plain,standard" in output.stdout.splitlines()


def test_mark_where_recipes_are_told(inline_cli):
    text = inline_cli.ok("list", COLUMNS="1000").stdout
    marked = [line.split()[0] for line in text.splitlines() if line.endswith(MARK)]
    assert marked == ["eva6s8"]
    assert f"{MARK} selection: test." in text
    assert f"# {MARK} selection: test." in inline_cli.ok("recipe", "show", "eva6s8").stdout
    shown = inline_cli.ok("recipe", "show", "smoke", "--set", "selection.split=test").stdout
    assert f"# {MARK} selection: test." in shown
    assert f"{MARK} selection: test." in inline_cli.ok("recipe", "diff", "eva6s8", "fast").stdout


def test_mark_while_and_after_a_run(test_selected):
    _, table, progress = test_selected
    end = next(line for line in progress.splitlines() if "test accuracy" in line)
    assert f"%{MARK} selection: test (" in end
    row = next(line for line in table.splitlines() if line.startswith("resnet20_bn"))
    assert MARK in row
    assert f"{MARK} selection: test." in table


def test_mark_of_a_run_that_was_done_before(module_inline, tiny, test_selected):
    selection = "selection={split: test, rule: best, metric: accuracy}"
    progress = module_inline.ok("bench", "resnet20_bn", *tiny, "--set", selection).stderr
    end = next(line for line in progress.splitlines() if "test accuracy" in line)
    assert f"%{MARK} selection: test (was done before)" in end


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_mark_in_tables(module_inline, test_selected, style: str):
    text = module_inline.ok("compare", "--format", style).stdout
    row = next(line for line in text.splitlines() if "resnet20" in line)
    assert MARK in row or r"\dag" in row
    assert "selection: test" in text


def test_mark_in_data(module_inline, test_selected):
    (row,) = csv.DictReader(io.StringIO(module_inline.ok("compare", "--format", "csv").stdout))
    assert row["selection"] == "test"
    (group,) = json.loads(module_inline.ok("compare", "--format", "json").stdout)
    assert "test" in (group.get("selection"), *(row.get("selection") for row in group["rows"]))
