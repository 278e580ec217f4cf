"""What a row rests on: its seeds, the code that made it, and what marks it, in every output."""

from __future__ import annotations

import csv
import html
import io
import json
from pathlib import Path
from typing import Any

import pytest
from made_results import OTHER, compare, result

import zoo
import zoo.comparison.groups as module
from zoo.comparison.groups import Group
from zoo.comparison.power import needs
from zoo.comparison.row import Row
from zoo.errors import ResultError
from zoo.render.columns import all_columns
from zoo.render.comparison import groups_html, notes_of, render, tables
from zoo.results.folder import RunFolder, save_result
from zoo.results.schema import Result

CLEAN, DIRTY = ({"git": {"commit": "a1b2c3d4e5", "dirty": dirty}} for dirty in (False, True))
PEOPLE = ("text", "markdown", "latex")  # formats for people


def runs(model: str, *hits: int, seeds: tuple[int, ...] | None = None, **changes: Any) -> list[Result]:
    """A run with each of `hits`, under seeds 0, 1, ... or `seeds`."""
    return [result(model, seed, count, **changes) for seed, count in zip(seeds or range(len(hits)), hits, strict=True)]


BASE = (9000, 9010, 8990)
UP, DOWN = (9100, 9112, 9089), (8900, 8911, 8889)
TABLE = [*runs("m_bn", *BASE, **CLEAN), *runs("m_up", *UP, **CLEAN), *runs("m_down", *DOWN, **CLEAN)]


def verdicts(group: Group) -> dict[str, str]:
    return {row.model: row.against.verdict for row in group.rows if row.against}


def row_of(group: Group, model: str) -> Row:
    (found,) = (row for row in group.rows if row.model == model)
    return found


def cells(group: Group) -> dict[str, dict[str, str]]:
    return {row.model: {column.title: column.text(row) for column in all_columns(group)} for row in group.rows}


def titles(group: Group) -> set[str]:
    """The columns of the usual table."""
    (shown,) = tables([group])
    return {title for row in shown.rows for title in row}


# The code


def test_other_code_in_one_row() -> None:
    """One seed of a dirty checkout beside clean ones: no verdict, and the table says which seed and why."""
    mixed = [*runs("m_ln", 5000, 9700, **CLEAN), *runs("m_ln", 9800, seeds=(2,), **DIRTY)]
    (group,) = compare([*TABLE, *mixed], "m_bn")
    assert verdicts(group) == {
        "m_up": "better (n=3)", "m_down": "worse (n=3)", "m_ln": "uncommitted changes; no verdict",
    }  # fmt: skip
    against = row_of(group, "m_ln").against
    assert against is not None
    assert (against.p_value, against.interval, against.detectable) == (None, None, None)
    assert against.difference == pytest.approx(-0.083333, abs=1e-6)
    (alone,) = compare(TABLE, "m_bn")  # such a row is in no family
    assert row_of(group, "m_up").against == row_of(alone, "m_up").against
    shown = cells(group)
    assert (shown["m_ln"]["code"], shown["m_up"]["code"]) == ("1 (0, 1), 2 (2)", "1")
    note = next(note for note in notes_of(group) if "code" in note)
    assert note == (
        "Different code made these runs, numbered in the column code (in brackets its seeds). "
        "1: commit a1b2c3d4; 2: commit a1b2c3d4 with uncommitted changes."
    )
    for style in PEOPLE:
        assert note in render([group], style)
    assert note in html.unescape(groups_html([group]))
    assert ("code" in titles(group), "code" in titles(alone)) == (True, False)
    assert not [note for note in notes_of(alone) if "code" in note]


def test_other_code_in_one_row_for_programs() -> None:
    (group,) = compare([*TABLE, *runs("m_ln", 5000, 9700, **CLEAN), *runs("m_ln", 9800, seeds=(2,), **DIRTY)], "m_bn")
    (record,) = json.loads(render([group], "json"))
    (row,) = (row for row in record["rows"] if row["model"] == "m_ln")
    dirty = "commit a1b2c3d4 with uncommitted changes"
    assert [record["code"][number] for number in row["code"]] == ["commit a1b2c3d4"] * 2 + [dirty]
    assert any(dirty in note for note in record["notes"])
    lines = {line["model"]: line for line in csv.DictReader(io.StringIO(render([group], "csv")))}
    assert lines["m_ln"]["code"] == f"commit a1b2c3d4 (0, 1), {dirty} (2)"
    assert lines["m_up"]["code"] == "commit a1b2c3d4"


def test_uncommitted_changes_of_the_baseline_leave_no_verdict_unless_allowed() -> None:
    dirty = [*runs("m_bn", *BASE, **DIRTY), *TABLE[3:]]
    (group,) = compare(dirty, "m_bn")
    assert set(verdicts(group).values()) == {"uncommitted changes of the baseline; no verdict"}
    (allowed,) = compare(dirty, "m_bn", allow_dirty=True)
    (clean,) = compare(TABLE, "m_bn")
    assert [row.against for row in allowed.rows] == [row.against for row in clean.rows]
    everything = [run for model, hits in (("m_bn", BASE), ("m_up", UP)) for run in runs(model, *hits, **DIRTY)]
    (group,) = compare(everything, "m_bn")
    assert "code" not in titles(group)  # all are alike; a note says it
    assert "All of these runs were made by commit a1b2c3d4 with uncommitted changes." in notes_of(group)


def test_power_of_uncommitted_changes_names_the_way_out() -> None:
    dirty = [*runs("m_bn", *BASE, **DIRTY), *runs("m_up", *UP, **DIRTY)]
    with pytest.raises(ResultError, match="uncommitted changes; take these too with allow_dirty"):
        needs(compare(dirty, "m_bn"))
    assert needs(compare(dirty, "m_bn", allow_dirty=True))[0].rows == 1


def test_a_wheel_has_no_uncommitted_changes() -> None:
    (group,) = compare([result(run.model.name, run.seed, run.test.correct) for run in TABLE if run.test], "m_bn")
    assert verdicts(group) == {"m_up": "better (n=3)", "m_down": "worse (n=3)"}
    assert group.code == {"1": "zoo unknown"}
    assert not [note for note in notes_of(group) if "zoo unknown" in note]


@pytest.mark.parametrize("library", ["torch", "torchvision", "albumentations", "timm", "numpy", "python"])
def test_several_versions_of_a_library_are_told_apart(library: str) -> None:
    started = ("2030-01-02T03:04:05+00:00", "2029-01-01T00:00:00+00:00")
    old, new = (
        {f"environment__{library}": version, "started": when} for version, when in zip("98", started, strict=True)
    )
    same = {"environment__zoo": "0.1.0", "environment__os": "any"}
    (group,) = compare([*runs("m_bn", *BASE, **old, **same), *runs("m_up", *UP, **new, **same)], "m_bn")
    # The earliest run's code is number 1, and what all share is not said.
    assert list(group.code.values()) == [f"zoo 0.1.0, {library} 8", f"zoo 0.1.0, {library} 9"]
    assert {model: row["code"] for model, row in cells(group).items()} == {"m_bn": "2", "m_up": "1"}
    assert verdicts(group) == {"m_up": "better (n=3)"}  # clean code that differs is said, and no more
    (shown,) = module.only([group], lambda model: model == "m_up")
    assert list(shown.code) == ["1"]


def test_a_resumed_run_that_moved_says_so() -> None:
    (group,) = compare([*runs("m_bn", *BASE), *runs("m_up", *UP, environment__moved_after=2)])
    assert "zoo unknown, resumed after epoch 2 with other hardware, software or code" in group.code.values()


# The seeds


@pytest.fixture
def chosen() -> Group:
    """Of five seeds of one model the best three, of the other 0 to 2."""
    (group,) = compare([*runs("m_bn", *BASE), *runs("m_up", *UP, seeds=(7, 2, 4))], "m_bn")
    return group


def test_best_3_of_5_seeds(chosen: Group) -> None:
    """The table says which seeds a row has, where they are not 0 to n-1."""
    assert {model: row["seeds"] for model, row in cells(chosen).items()} == {"m_bn": "3", "m_up": "3 (2, 4, 7)"}
    for style in PEOPLE:
        assert "3 (2, 4, 7)" in render([chosen], style)
    assert "3 (2, 4, 7)" in groups_html([chosen])
    (record,) = json.loads(render([chosen], "json"))
    assert {row["model"]: row["seeds"] for row in record["rows"]} == {"m_bn": [0, 1, 2], "m_up": [2, 4, 7]}
    lines = csv.DictReader(io.StringIO(render([chosen], "csv")))
    assert {line["model"]: line["seeds"] for line in lines} == {"m_bn": "0 1 2", "m_up": "2 4 7"}


@pytest.mark.parametrize(
    ("seeds", "words"), [((0,), "1"), ((3,), "1 (3)"), ((1, 2), "2 (1, 2)"), ((0, 1, 3), "3 (0, 1, 3)")]
)
def test_seeds_are_named_where_one_of_0_to_n_is_missing(seeds: tuple[int, ...], words: str) -> None:
    (group,) = compare(runs("m_bn", *[9000] * len(seeds), seeds=seeds))
    assert cells(group)["m_bn"]["seeds"] == words


def test_quality_has_the_worst_seed(chosen: Group) -> None:
    (lost,) = compare([*runs("m_ln", *UP), result("m_ln", 3, None)])
    assert cells(chosen)["m_up"]["worst seed %"] == "90.89 (seed 4)"
    assert cells(lost)["m_ln"]["worst seed %"] == "diverged (seed 3)"
    (record,) = json.loads(render([chosen], "json"))
    assert [(row["worst_seed"], row["worst_accuracy"]) for row in record["rows"]] == [(4, 0.9089), (2, 0.899)]


@pytest.mark.parametrize("count", [3, 4, 6])
def test_each_verdict_has_its_number_of_seeds(count: int) -> None:
    table = {"m_bn": BASE, "m_up": UP, "m_down": DOWN, "m_same": (9011, 8999, 8992)}
    made = [run for model, hits in table.items() for run in runs(model, *(hits * 2)[:count])]
    (group,) = compare([*made, *runs("m_short", *DOWN)], "m_bn")  # the fewer seeds of the two count
    assert verdicts(group) == {
        "m_up": f"better (n={count})", "m_down": f"worse (n={count})", "m_same": f"equal within 1 points (n={count})",
        "m_short": "worse (n=3)",
    }  # fmt: skip
    (strict,) = compare(made, "m_bn", margin=0.001)
    assert verdicts(strict)["m_same"] == f"not significant (n={count})"


# The marks


def batch_dependent(model: str, *hits: int) -> list[Result]:
    return runs(model, *hits, model__batch_dependent=512)


def test_a_batch_dependent_row_is_marked() -> None:
    """Accuracy and verdict have the mark, and the note says what it means and of which batches."""
    (group,) = compare([*runs("m_bn", *BASE), *batch_dependent("m_up", *UP), *runs("m_down", *DOWN)], "m_bn")
    shown = cells(group)
    assert (shown["m_up"]["test accuracy %"][-1], shown["m_up"]["verdict"]) == ("§", "better (n=3) §")
    assert "§" not in "".join(shown["m_down"].values()) + "".join(shown["m_bn"].values())
    note = (
        "§ batch-dependent: predictions depend on the other images of the evaluation batch (512 images), so the "
        "accuracy holds for such batches alone."
    )
    for style in PEOPLE:
        text = render([group], style).replace(r"\item[\S]", "§").replace(r"\tnote{\S}", "§")
        assert text.count("§") == 3
        assert note in text
    page = groups_html([group])
    assert page.count("§") == 3
    (record,) = json.loads(render([group], "json"))
    assert [row["batch_dependent"] for row in record["rows"]] == [512, None, None]
    assert note in record["notes"]
    (none,) = compare(TABLE, "m_bn")
    assert "§" not in render([none], "text")


def test_a_batch_dependent_baseline_marks_every_verdict() -> None:
    (group,) = compare([*batch_dependent("m_bn", *BASE), *runs("m_up", *UP), *runs("m_down", *DOWN)], "m_bn")
    assert {model: row["verdict"] for model, row in cells(group).items()} == {
        "m_bn": "baseline", "m_up": "better (n=3) §", "m_down": "worse (n=3) §",
    }  # fmt: skip
    (hidden,) = module.only([group], lambda model: model == "m_up")
    assert cells(hidden)["m_up"]["verdict"] == "better (n=3) §"
    assert verdicts(group)["m_up"] == "better (n=3)"  # the words are in one place, without marks


def test_old_results_have_no_batch_dependence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "cifar10" / "standard" / "m_bn" / "seed0")
    folder.path.mkdir(parents=True)
    save_result(folder.result, result())
    content = json.loads(folder.result.read_text())
    del content["model"]["batch_dependent"]
    folder.result.write_text(json.dumps(content))
    (group,) = zoo.compare(tmp_path)
    assert group.rows[0].batch_dependent is None


# The sentences


def test_another_baseline_is_said_to_be_another_family() -> None:
    sentence = "Verdicts are corrected for this baseline only: another baseline over the same runs is another family."
    (group,) = compare(TABLE, "m_bn")
    for style in PEOPLE:
        assert sentence in render([group], style)
    assert any(sentence in note for note in json.loads(render([group], "json"))[0]["notes"])
    (plain,) = compare(TABLE)
    (few,) = compare([run for run in TABLE if run.seed < 2], "m_bn")
    assert not any(sentence in render([other], "text") for other in (plain, few))  # no verdict, no family


def test_verdicts_of_tuned_values_say_so_everywhere() -> None:
    tuned = {
        "model": "m_bn", "base": "b" * 64, "over": {"optimizer.lr": {"low": 0.1, "high": 1.0, "log": True, "own": 0.2}},
        "trials": 4, "sampler": "tpe", "startup_trials": 4, "seed": 0,
    }  # fmt: skip
    sentence = "Verdicts are of these tuned values: tuning again could give others."
    values = OTHER | {"optimizer": {"lr": 0.5}}
    made = [
        run for model, hits in (("m_bn", BASE), ("m_up", UP))
        for run in runs(model, *hits, recipe__content=values | {"tuned": tuned | {"model": model}})
    ]  # fmt: skip
    groups = compare(made, "m_bn", tuned=True)
    for style in PEOPLE:
        assert sentence in render(groups, style)
    assert sentence in groups_html(groups)
    assert sentence in json.loads(render(groups, "json"))[0]["notes"]
    one = [
        run for model, hits in (("m_bn", BASE), ("m_up", UP))
        for run in runs(model, *hits, recipe__content=values | {"tuned": tuned})
    ]  # fmt: skip
    assert sentence in render(compare(one, "m_bn"), "text")  # two models under what was tuned for one
