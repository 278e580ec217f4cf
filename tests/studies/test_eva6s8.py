"""``zoo study eva6s8``: from the reference experiment to the standard recipe, one change at a time."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from made_results import result
from printed_tables import of_text

from zoo.recipes.diff import differences
from zoo.recipes.load import load_recipe
from zoo.render.eva6s8 import draw, render
from zoo.results.folder import RunFolder, Stored
from zoo.results.history import EpochRow, save_history
from zoo.studies.eva6s8 import ablation, reference_recipes, reference_steps


def test_it_begins_with_eva6s8_and_ends_with_standard() -> None:
    recipes = [recipe for _, recipe in reference_recipes([], 40)]
    assert recipes[0].fingerprint == load_recipe("eva6s8").fingerprint
    assert recipes[-1].canonical() == load_recipe("standard").canonical()


def test_only_the_first_step_reads_the_test_set_and_has_the_instance_norm() -> None:
    steps = reference_recipes([], 40)
    assert [step.norm for step, _ in steps] == ["in"] + ["ln"] * (len(steps) - 1)
    assert [recipe.selection.split for _, recipe in steps] == ["test"] * 2 + ["holdout"] * (len(steps) - 2)


def test_each_step_changes_what_its_title_says() -> None:
    recipes = [recipe.canonical() for _, recipe in reference_recipes([], 40)]
    changed = [
        {difference.key.split(".")[0] for difference in differences(one, other)}
        for one, other in itertools.pairwise(recipes)
    ]
    assert changed == [
        set(), {"split", "selection"}, {"augment"}, {"augment"}, {"augment"}, {"optimizer"}, {"schedule"},
        {"optimizer"}, {"loss", "drop_last", "precision"},
    ]  # fmt: skip


def test_the_warm_up_keeps_its_share_and_overrides_reach_every_step() -> None:
    short = [recipe for _, recipe in reference_recipes(["split.train=100"], 10)]
    assert {recipe.epochs for recipe in short} == {10}
    assert {recipe.split.train for recipe in short} == {100}
    assert [recipe.schedule.warmup_epochs for recipe in short if recipe.schedule.name == "cosine"] == [1.0] * 3
    assert len(reference_steps(10)) == len(short)


def trained(folder: Path, step: int, seed: int, correct: int | None, epochs: int = 1) -> Stored:
    """A run of a step; without `correct` it diverged, without `epochs` in its first."""
    place = RunFolder.of(folder, "cifar10", f"step-{step}", "m_ln", seed)
    place.path.mkdir(parents=True)
    if epochs:
        save_history(place.history, [EpochRow(1, 0.1, 1.0, 0.5, "holdout", 1.0, 0.5, 1e3, 10.0, 1.0)])
    return Stored(result("m_ln", seed, correct, epochs_trained=epochs), place)


def test_diverged_seeds_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that diverged in its first epoch, which leaves no history."""
    runs = [
        [trained(tmp_path, 0, 0, None, epochs=0), trained(tmp_path, 0, 1, 9000), trained(tmp_path, 0, 2, 9100)],
        [trained(tmp_path, 1, 0, None, epochs=0)],
        [trained(tmp_path, 2, 0, 9200)],
    ]
    found = ablation(reference_steps(1)[:3], runs)
    assert [len(item.history) for item in found] == [0, 0, 1]
    partly, gone, whole = (row["accuracy %"] for row in of_text(render(found, "text", "title")))
    assert re.fullmatch(r"90\.50 ± \S+, 1 of 3 diverged", partly)
    assert "diverged" in gone
    assert "diverged" not in whole
    drawn: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.annotate", lambda self, text, *_, **__: drawn.append(text))
    draw(found, tmp_path / "way.svg", "title")
    assert drawn == ["90.50, 1 of 3 diverged", "92.00"]


def test_a_change_is_of_the_seeds_that_both_finished(tmp_path: Path) -> None:
    runs = [[trained(tmp_path, step, seed, correct) for seed, correct in enumerate(seeds)]
            for step, seeds in enumerate([(9000, 9000, 8000), (9000, 9000, None), (None, None, 8000)])]  # fmt: skip
    assert [item.change for item in ablation(reference_steps(1)[:3], runs)] == [None, 0.0, None]


def test_seeds_are_named_and_batch_dependence_is_marked(tmp_path: Path) -> None:
    run = trained(tmp_path, 0, 5, 9000)
    dependent = run.result.model.model_copy(update={"batch_dependent": 256})
    marked = replace(run, result=run.result.model_copy(update={"model": dependent}))
    text = render(ablation(reference_steps(1)[:1], [[marked]]), "text", "title")
    assert "]§" in text
    assert "1 (5)" in text
    assert "§ batch-dependent" in text
    assert json.loads(render(ablation(reference_steps(1)[:1], [[marked]]), "json", "title"))[0]["seeds"] == [5]


TINY = (
    "--architecture", "resnet20", "--dataset", "shapes10", "--epochs", "2", "--set", "split.train=64",
    "--set", "split.holdout=500", "--set", "batch_size=32", "--layout", "nchw",
)  # fmt: skip


@pytest.mark.slow
def test_whole_command(zoo_cli) -> None:
    done = zoo_cli.ok("study", "eva6s8", *TINY, "--format", "json", "--out", "way.png")
    records = json.loads(done.stdout)
    assert [record["step"] for record in records] == [step.title for step in reference_steps(2)]
    assert [record["model"] for record in records] == ["resnet20_in"] + ["resnet20_ln"] * (len(records) - 1)
    for before, record in itertools.pairwise(records):
        assert record["change"] == pytest.approx(record["accuracy"] - before["accuracy"])
    assert (zoo_cli.folder / "way.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((zoo_cli.folder / "runs").rglob("result.json"))) == len(records)

    again = zoo_cli.ok("study", "eva6s8", *TINY, "--out", "again.png")
    assert again.stderr.count("was done before") == len(records)
    assert (zoo_cli.folder / "way.png").read_bytes() == (zoo_cli.folder / "again.png").read_bytes()
    for record in records:
        line = next(line for line in again.stdout.splitlines() if record["step"] in line)
        assert f"{100 * record['accuracy']:.2f}" in line
        assert ("†" in line) == (record["selection"] == "test")
    assert "may be luck" in again.stdout
    frame = pd.read_csv(io.StringIO(zoo_cli.ok("study", "eva6s8", *TINY, "--format", "csv").stdout))
    assert frame["accuracy"].tolist() == [record["accuracy"] for record in records]
    for style in ("markdown", "latex"):
        assert "GroupNorm of 1 group" in zoo_cli.ok("study", "eva6s8", *TINY, "--format", style).stdout


def test_mistakes_before_any_training(inline_cli) -> None:
    for arguments, told in (
        (("--out", "x.gif"), "unknown kind of picture"),
        (("--architecture", "resnet21"), "did you mean"),
        (("--set", "epoks=3"), "unknown key 'epoks'; did you mean --set epochs=3?"),
    ):
        done = inline_cli("study", "eva6s8", *TINY, *arguments)
        assert (done.returncode, len(done.lines)) == (2, 1)
        assert told in done.stderr
