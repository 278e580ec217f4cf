"""From results to groups and rows, and from those to five formats that say the same."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from csv_text import frame_of
from made_results import OTHER, OTHER_SLUG, STANDARD_SLUG, compare, result
from printed_tables import table

import zoo
import zoo.comparison.groups as module
from zoo.comparison.groups import Group
from zoo.comparison.power import needs, too_few
from zoo.comparison.verdict import Sample, judge, seeds_needed
from zoo.errors import ResultError, UnknownNameError
from zoo.render.comparison import ELSEWHERE, render
from zoo.render.document import FORMATS
from zoo.render.power import render_power
from zoo.render.shown import Shown
from zoo.results.folder import RunFolder, Stored
from zoo.results.history import EpochRow, save_history
from zoo.results.predictions import save_predictions
from zoo.results.schema import Result
from zoo.utils.stats import student_interval
from zoo.utils.text import visible


def rows(*results: Result) -> dict[str, Any]:
    """The rows of the only group, by model."""
    (group,) = compare(results)
    assert len({row.model for row in group.rows}) == len(group.rows)
    return {row.model: row for row in group.rows}


# Groups


def test_one_group_per_data_set_and_recipe_fingerprint() -> None:
    found = compare(
        [
            result(),
            result(seed=1, dataset__name="renamed folder"),  # same images: same group
            result(recipe__content=OTHER),  # same name, another recipe
            result(dataset__fingerprint="e" * 64),  # same name, other images
            result(dataset__fingerprint="e" * 64, recipe__content=OTHER),
        ]
    )
    assert [(group.dataset_fingerprint[0], group.slug) for group in found] == [
        ("d", STANDARD_SLUG), ("e", STANDARD_SLUG), ("d", OTHER_SLUG), ("e", OTHER_SLUG),
    ]  # fmt: skip


def test_a_copy_counts_once_and_two_runs_of_one_seed_are_refused() -> None:
    (group,) = compare([result(), result()])
    assert [row.seeds for row in group.rows] == [[0]]
    with pytest.raises(ResultError, match="two different runs of m_bn seed 0 under recipe standard"):
        compare([result(correct=8000), result(correct=8001)])


def test_nothing_gives_nothing() -> None:
    assert compare([]) == []


def test_order_is_by_accuracy_with_the_diverged_last() -> None:
    (group,) = compare(
        [result("a_bn", 0, None), result("b_bn", 0, 5000), result("c_bn", 0, 9000), result("d_bn", 0, 0)]
    )
    assert [row.model for row in group.rows] == ["c_bn", "b_bn", "d_bn", "a_bn"]


# Rows


def test_seeds_are_pooled_with_students_interval() -> None:
    row = rows(*(result(seed=seed, correct=correct) for seed, correct in ((2, 9100), (0, 9000), (1, 9050))))["m_bn"]
    expected = scipy.stats.t.interval(0.95, 2, 0.905, scipy.stats.sem([0.90, 0.905, 0.91]))
    assert (row.seeds, row.interval_kind, row.accuracy) == ([0, 1, 2], "student", pytest.approx(0.905))
    assert row.interval == pytest.approx(expected)


def test_one_seed_has_the_binomial_interval_of_its_test_set() -> None:
    row = rows(result(correct=8299))["m_bn"]
    expected = scipy.stats.binomtest(8299, 10_000).proportion_ci(method="wilson")
    assert (row.seeds, row.interval_kind, row.accuracy) == ([0], "binomial", 0.8299)
    assert row.interval == pytest.approx((expected.low, expected.high))


def test_speeds_are_medians_over_seeds_and_missing_ones_do_not_count() -> None:
    speeds = (10.0, None, 30.0, 1000.0)
    row = rows(*(result(seed=i, speed__train_images_per_second=speed) for i, speed in enumerate(speeds)))["m_bn"]
    assert row.train_images_per_second == 30.0
    row = rows(*(result(seed=i, speed__peak_memory_bytes=None) for i in range(2)))["m_bn"]
    assert row.peak_memory_bytes is None


def test_diverged_run_is_shown_and_has_no_figures() -> None:
    row = rows(result(correct=None))["m_bn"]
    assert (row.accuracy, row.interval, row.interval_kind, row.diverged) == (None, None, None, {0: 3})
    assert (row.inference_images_per_second, row.latency_p50, row.latency_p99) == (None, None, None)
    row = rows(result(seed=0, correct=9000), result(seed=1, correct=None), result(seed=2, correct=9200))["m_bn"]
    assert (row.seeds, row.diverged, row.accuracy) == ([0, 1, 2], {1: 3}, pytest.approx(0.91))
    row = rows(result(seed=0, correct=9000), result(seed=1, correct=None))["m_bn"]
    assert (row.interval_kind, row.accuracy) == ("binomial", 0.9)  # one figure is no spread


def test_edited_definition_is_another_row() -> None:
    (group,) = compare([result(seed=0), result(seed=1, model__definition={"norm": {"name": "edited"}})])
    assert sorted(row.seeds for row in group.rows) == [[0], [1]]
    assert {row.machine for row in group.rows} == {"a"}
    (group,) = compare(
        [
            result(seed=0, model__definition={"code": {"a": "1", "b": "2"}}),
            result(seed=1, model__definition={"code": {"b": "2", "a": "1"}}),
        ]
    )
    assert [row.seeds for row in group.rows] == [[0, 1]]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("environment__cpu", "CPU two", "CPU two, 2 cores, 2 threads; torch 2.9, Python 3.11.1, batched augmentation"),
        ("environment__threads", 1, "CPU one, 2 cores, 1 threads; torch 2.9"),
        ("environment__torch", "3.0", "; torch 3.0, Python"),
        ("environment__gpu", "H100", "H100; torch 2.9"),
        ("environment__malloc", "freed memory kept", "Python 3.11.1, freed memory kept, batched"),
        ("settings__executor", "albumentations", "albumentations augmentation, 0 workers"),
        ("settings__compiled", True, "batched augmentation, compiled"),
        ("settings__deterministic", True, "batched augmentation, deterministic"),
    ],
)
def test_another_machine_is_another_row_letter_and_note(path: str, value: object, told: str) -> None:
    groups = compare([result("a_bn"), result("a_bn", **{path: value}), result("b_bn", correct=8000)])
    (group,) = groups
    # One seed measured twice is no second seed.
    assert sorted((row.model, row.seeds, row.machine) for row in group.rows) == [
        ("a_bn", [0], "a"), ("a_bn", [0], "b"), ("b_bn", [0], "a"),
    ]  # fmt: skip
    assert told in group.machines["b"]
    text = render(groups, "text")
    assert "Speeds compare only between rows with the same machine letter." in text
    assert f"Machine b: {group.machines['b']}." in text
    assert [cells["machine"] for cells in table(text, "text")].count("b") == 1


def test_two_macs_have_two_letters_and_older_results_keep_theirs() -> None:
    """Every Mac was `arm` before processors had names there; what is stored is not named again."""
    named = {"environment__description_version": 2}
    runs = [
        result("a_bn", environment__cpu="arm"),
        result("b_bn", environment__cpu="arm"),
        result("c_bn", environment__cpu="Apple M1", **named),
        result("d_bn", environment__cpu="Apple M4", **named),
        result("e_bn", environment__cpu="CPU one"),
        result("f_bn", environment__cpu="CPU one", **named),  # a name that it had before
    ]
    (group,) = compare(runs)
    assert {row.model: row.machine for row in group.rows} == dict(
        zip(["a_bn", "b_bn", "c_bn", "d_bn", "e_bn", "f_bn"], "aabcdd", strict=True)
    )
    assert group.machines["b"].startswith("Apple M1, 2 cores")


@pytest.mark.parametrize(("executor", "letters"), [("albumentations", ["a", "b"]), ("batched", ["a"])])
def test_workers_part_the_machines_of_the_executor_that_has_them(executor: str, letters: list[str]) -> None:
    runs = [result(f"{n}_bn", settings__executor=executor, settings__workers=n) for n in range(2)]
    (group,) = compare(runs)
    assert list(group.machines) == letters


def test_a_layout_that_the_registry_does_not_ask_for_is_of_another_machine() -> None:
    runs = [
        result("a_bn", seed=0, model__layout="channels_last", settings__layout="channels_last"),
        result("a_in", seed=0, model__layout="nchw", settings__layout="nchw"),
        result("a_ln", seed=0, model__layout="channels_last", settings__layout="nchw"),
        result("a_ln", seed=1, model__layout="channels_last", settings__layout="channels_last"),
        result("a_ln", seed=0, model__layout="channels_last", settings__layout="channels_last"),
        result("a_gn", seed=0, settings__layout="nchw"),  # the clock's
    ]
    (group,) = compare(runs)
    machine, other = group.machines.values()
    assert other == f"{machine}, nchw"
    assert sorted((row.model, row.machine, row.seeds) for row in group.rows) == [
        ("a_bn", "a", [0]), ("a_gn", "a", [0]), ("a_in", "a", [0]), ("a_ln", "a", [0, 1]), ("a_ln", "b", [0]),
    ]  # fmt: skip


def test_a_row_has_the_seeds_of_all_machines_and_the_speeds_of_most() -> None:
    """A third seed on another machine makes three seeds, and a verdict."""
    two = {"environment__cpu": "CPU two", "speed__train_images_per_second": 999.0}
    three = [result("a_bn"), result("a_bn", seed=1, correct=9010, **two), result("a_bn", seed=2, correct=9020)]
    groups = compare([*three, *(result("b_bn", seed, 8000 + 10 * seed) for seed in range(3))], baseline="b_bn")
    (group,) = groups
    best, base = group.rows
    assert (best.model, best.seeds, best.machine, best.elsewhere) == ("a_bn", [0, 1, 2], "a", 1)
    assert best.train_images_per_second == base.train_images_per_second == 1111.0
    assert (best.against.n, best.against.verdict, base.elsewhere) == (3, "better (n=3)", 0)
    text = render(groups, "text")
    assert [cells["machine"] for cells in table(text, "text")] == ["a+", "a"]
    assert ELSEWHERE in text
    assert "Machine a: CPU one" in text
    assert "CPU two" not in text  # none of its speeds are shown


def test_the_machine_of_a_row_is_one_where_a_seed_was_tested() -> None:
    gone = [result("a_bn", seed, None) for seed in range(2)]
    (group,) = compare([*gone, result("a_bn", 2, environment__cpu="CPU two")])
    (row,) = group.rows
    assert (row.inference_images_per_second, row.elsewhere) == (2222.0, 2)
    assert next(iter(group.machines.values())).startswith("CPU two")


def test_one_seed_twice_is_an_error_where_rows_must_be_whole() -> None:
    """For the studies, which show accuracies alone."""
    with pytest.raises(ResultError, match="two different runs of a_bn seed 0"):
        compare([result("a_bn"), result("a_bn", environment__cpu="CPU two")], once_each=True)


def test_many_machines_have_a_letter_each() -> None:
    (group,) = compare([result(environment__cpu=f"CPU {i}") for i in range(30)])
    assert len(set(group.machines)) == len(group.rows) == 30
    assert all(letter.isalpha() for letter in group.machines)


# Formats


CASES = [
    result("a_bn", 0, 9000),
    result("a_bn", 1, 9100),
    result("b_ln", 0, 8299, speed__peak_memory_bytes=None),
    result("c_gn", 0, None),
]


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_tables_say_what_the_rows_say(style: str) -> None:
    groups = compare(CASES)
    named = ("norm", "accuracy", "seeds", "parameters", "macs", "train_images_per_second")
    named += ("inference_images_per_second", "latency_p50", "latency_p99", "peak_memory_bytes")
    cells = table(render(groups, style, Shown(columns=named)), style)
    assert [row["model"] for row in cells] == ["a_bn", "b_ln", "c_gn"]
    for shown, row in zip(cells, groups[0].rows, strict=True):
        assert (shown["norm"], shown["seeds"]) == (row.norm, str(len(row.seeds)))
        assert float(shown["parameters"].replace(",", "")) == row.parameters
        assert float(shown["MACs (M)"]) == pytest.approx(row.macs / 1e6, abs=0.05)
        for column, value, factor, digits in (
            ("train img/s", row.train_images_per_second, 1, 0.5),
            ("inference img/s", row.inference_images_per_second, 1, 0.5),
            ("p50 ms", row.latency_p50, 1e3, 0.005),
            ("p99 ms", row.latency_p99, 1e3, 0.005),
            ("peak MiB", row.peak_memory_bytes, 1 / 2**20, 0.5),
        ):
            if value is None:
                assert shown[column] == "-"
            else:
                assert float(shown[column].replace(",", "")) == pytest.approx(value * factor, abs=digits + 1e-9)
        if row.accuracy is None:
            assert shown["test accuracy %"] == "seed 0 diverged at epoch 3"
        else:
            mean, *bounds = map(float, re.findall(r"[\d.]+", shown["test accuracy %"]))
            assert mean == pytest.approx(100 * row.accuracy, abs=0.0051)
            if row.interval_kind == "student":
                assert bounds == pytest.approx([50 * (row.interval[1] - row.interval[0])], abs=0.0051)
            else:
                assert bounds == pytest.approx([100 * bound for bound in row.interval], abs=0.0051)


def test_partly_diverged_model_shows_both() -> None:
    groups = compare([result(seed=0), result(seed=1, correct=9100), result(seed=2, correct=None)])
    for style in ("text", "markdown", "latex"):
        assert table(render(groups, style), style)[0]["test accuracy %"].endswith(" (seed 2 diverged at epoch 3)")


def test_csv_read_by_pandas_holds_the_rows() -> None:
    groups = compare([*CASES, result("a_bn", 5, 100, recipe__content=OTHER)])
    frame = frame_of(render(groups, "csv"))
    assert len(frame) == 4
    pairs = [(group, row) for group in groups for row in group.rows]
    for (group, row), (_, shown) in zip(pairs, frame.iterrows(), strict=True):
        assert (shown["model"], shown["recipe_fingerprint"]) == (row.model, group.recipe_fingerprint)
        assert shown["machine"] == group.machines[row.machine]
        assert shown["seeds"] == " ".join(map(str, row.seeds))
        assert shown["label"] == row.label
        low, high = row.interval or (None, None)
        for column, value in {
            "accuracy": row.accuracy, "interval_low": low, "interval_high": high, "parameters": row.parameters,
            "macs": row.macs, "latency_p99": row.latency_p99, "peak_memory_bytes": row.peak_memory_bytes,
            "inference_images_per_second": row.inference_images_per_second,
        }.items():  # fmt: skip
            assert pd.isna(shown[column]) if value is None else shown[column] == value
        assert pd.isna(shown["diverged"]) if not row.diverged else shown["diverged"] == "0@3"


def test_csv_keeps_integers_where_a_row_has_none() -> None:
    runs = [*BASELINE, result("m_old", model__activation_bytes=None, speed__peak_memory_bytes=None)]
    told = {row["model"]: row for row in csv.DictReader(io.StringIO(render(compare(runs, "m_bn"), "csv")))}
    for model, pairs, memory, activations in (
        ("m_bn", "", str(777 * 2**20), "300000"), ("m_up", "3", str(777 * 2**20), "300000"), ("m_old", "1", "", ""),
    ):  # fmt: skip
        shown = [told[model][name] for name in ("n", "peak_memory_bytes", "activation_bytes")]
        assert shown == [pairs, memory, activations]


def test_json_holds_the_rows() -> None:
    groups = compare(CASES)
    (said,) = json.loads(render(groups, "json"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said["recipe_fingerprint"] == groups[0].recipe_fingerprint
    for shown, row in zip(said["rows"], groups[0].rows, strict=True):
        assert (shown["model"], shown["accuracy"], shown["seeds"]) == (row.model, row.accuracy, row.seeds)
        assert shown["interval"] == (list(row.interval) if row.interval else None)
        assert shown["peak_memory_bytes"] == row.peak_memory_bytes
        assert shown["diverged"] == {str(seed): epoch for seed, epoch in row.diverged.items()}


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_ends_in_one_newline(style: str) -> None:
    text = render(compare(CASES), style)
    assert text.endswith("\n")


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_selection_on_the_test_set_is_marked(style: str) -> None:
    honest, chosen = compare([result()]), compare([result(selection__split="test")])
    text = render(chosen, style)
    assert table(text, style)[0]["test accuracy %"].endswith("†")
    assert "selection: test" in text
    assert "The test set chose these weights" in text
    assert "†" not in render(honest, style)
    assert "best epoch on holdout" in render(honest, style)
    assert "best epoch on test" in text
    assert "last epoch" in render(compare([result(selection__rule="last")]), style)


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_the_heading_says_what_an_answer_is_a_mean_over(style: str) -> None:
    assert "logits" not in render(compare([result()]), style)
    shifted = result(recipe__content={"precision": "fp32", "mirror_evaluation": True, "shifted_evaluation": 1})
    told = "fp32, best epoch on holdout, logits the mean over each image, its mirror image and both moved 1 px along"
    assert told in render(compare([shifted]), style)


def test_selection_is_a_column_of_csv_and_json() -> None:
    groups = compare([result(selection__split="test")])
    assert frame_of(render(groups, "csv"))["selection"].tolist() == ["test"]
    assert json.loads(render(groups, "json"))[0]["selection"] == "test"


def test_notes_say_how_the_interval_came_about() -> None:
    one, more = render(compare([result()]), "text"), render(compare([result(), result(seed=1)]), "text")
    assert "no winner is claimed" in one
    assert "Student" not in one
    assert "95 % interval over seeds (Student t)" in more
    assert "binomial" not in more


@pytest.mark.parametrize("style", ["latex"])
def test_latex_is_one_table_with_caption_label_and_notes(style: str) -> None:
    text = render(compare(CASES), style)
    inside = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    columns = re.match(r"\\begin\{tabular\}\{([lrc]+)\}", inside).group(1)
    assert len(columns) == len(table(text, style)[0])
    for part in (
        "caption{cifar10, recipe standard",
        "label{tab:",
        "begin{tablenotes}",
        "toprule",
        "item Several seeds",
    ):
        assert text.count(rf"\{part}") == 1, part
    assert text.count(r"\begin{") == text.count(r"\end{") == 4
    assert r"$90.50 \pm 6.35$" in text
    assert not re.search(r"(?<!\\)[%_#]", text.split("\n", 1)[1])  # nothing that TeX would take for its own


HOSTILE = "a|b & c_d % e\\ f\nnew $line$ | x"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model__label", HOSTILE),
        ("dataset__name", HOSTILE.replace("\n", " ")),
        ("environment__cpu", HOSTILE.replace("\n", " ")),
    ],
    ids=["label", "dataset", "cpu"],
)
@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_hostile_text_breaks_no_table(style: str, path: str, value: str) -> None:
    """Labels come from anybody's registry, data sets are named after folders, a processor says what it likes."""
    plain = render(compare([result("a_bn"), result("b_bn")]), style)
    text = render(compare([result("a_bn", **{path: value}), result("b_bn", **{path: value})]), style)
    assert [row["model"] for row in table(text, style)] == ["a_bn", "b_bn"]
    assert list(table(text, style)[0]) == list(table(plain, style)[0])
    assert len(text.splitlines()) == len(plain.splitlines())
    assert style != "latex" or not re.search(r"(?<!\\)[%_#&] ?[a-z$]", text.replace(r" & ", "").split("\n", 1)[1])


@pytest.mark.parametrize("path", ["model__label", "model__norm", "dataset__name"])
def test_hostile_text_comes_back_from_csv_and_json(path: str) -> None:
    value = HOSTILE if path == "model__label" else HOSTILE.replace("\n", " ")
    groups = compare([result("a_bn", **{path: value})])
    column = path.split("__")[1] if path.startswith("model") else "dataset"
    frame = frame_of(render(groups, "csv"))
    assert frame[column].tolist() == [visible(value)]  # which a terminal shows and no line of it breaks
    said = json.loads(render(groups, "json"))[0]
    assert (said["rows"][0] if path.startswith("model") else said)[column] == value


def test_group_is_plain_data() -> None:
    (group,) = compare(CASES)
    assert isinstance(group, Group)
    assert (group.dataset, group.recipe, group.precision, group.selection) == ("cifar10", "standard", "fp32", "holdout")


# Differences from a baseline


def sweep(model: str, *correct: int | None) -> list[Result]:
    """One run per seed."""
    return [result(model, seed, hits) for seed, hits in enumerate(correct)]


BASELINE = [
    *sweep("m_bn", 9000, 9010, 8990), *sweep("m_up", 9100, 9112, 9089), *sweep("m_down", 8900, 8911, 8889),
    *sweep("m_same", 9011, 8999, 8992), *sweep("m_lost", 9200, 9210, None),
]  # fmt: skip


def test_differences_are_corrected_and_put_in_words() -> None:
    (group,) = compare(BASELINE, "m_bn")
    against = {row.model: row.against for row in group.rows}
    assert against.pop("m_bn") is None
    words = {model: difference.verdict for model, difference in against.items()}
    assert words == {
        "m_up": "better (n=3)", "m_down": "worse (n=3)", "m_same": "equal within 1 points (n=3)",
        "m_lost": "a seed diverged",
    }  # fmt: skip
    up, lost = against["m_up"], against["m_lost"]
    assert (up.n, up.family, up.difference) == (3, 3, pytest.approx(0.0100333, abs=1e-6))
    assert up.interval[0] > 0
    assert (lost.n, lost.difference, lost.interval, lost.p_value) == (2, pytest.approx(0.0205), None, None)
    (strict,) = module.compare(stored_nowhere(BASELINE), "m_bn", margin=0.002)
    assert next(row for row in strict.rows if row.model == "m_same").against.verdict == "not significant (n=3)"


def stored_nowhere(results: list[Result]) -> list[Stored]:
    """Of results that lie nowhere."""
    return [Stored(result, RunFolder(Path("nowhere"))) for result in results]


def test_rows_that_cannot_get_a_verdict_cost_the_others_nothing() -> None:
    """Rows that cannot get a verdict (two seeds, a diverged seed) counted in Holm's family: 39 % found, not 96."""
    (alone,) = compare(BASELINE, "m_bn")
    beside = [run for number in range(9) for run in sweep(f"m_two{number}", 9500 + number, 8000)]
    (among,) = compare([*BASELINE, *beside, *sweep("m_dead", 9000, None, None, None)], "m_bn")
    before = {row.model: row.against for row in alone.rows}
    after = {row.model: row.against for row in among.rows}
    assert {model: after[model] for model in before} == before
    assert {after[f"m_two{number}"].verdict for number in range(9)} == {"needs 3 seeds"}


def test_pairing_by_seed_is_not_done() -> None:
    """Pairing by seed cost degrees of freedom and gained nothing: which seed had which accuracy changes nothing."""
    (one,) = compare([*sweep("m_bn", 9000, 9010, 8990), *sweep("m_ln", 8960, 8975, 8950)], "m_bn")
    (other,) = compare([*sweep("m_bn", 8990, 9000, 9010), *sweep("m_ln", 8975, 8950, 8960)], "m_bn")
    assert one.rows[1].against.p_value == pytest.approx(other.rows[1].against.p_value, rel=1e-9)
    elsewhere = [result("m_ln", seed, 8960 + seed) for seed in (7, 8, 9)]
    (apart,) = compare([*sweep("m_bn", 9000, 9010, 8990), *elsewhere], "m_bn")
    assert (apart.rows[1].against.n, apart.rows[1].against.p_value is None) == (3, False)


def test_forking_paths_every_row_keeps_its_p_and_verdict_under_every_choice_of_models() -> None:
    """Forking paths: `--model` filters led to 40 % false verdicts."""
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    whole = zoo.compare(results, "resnet20_gn", recipe="laptop-9c06139e")
    (group,) = whole
    verdicts = {row.model: row.against for row in group.rows}
    assert sum(row is not None and row.p_value is not None for row in verdicts.values()) == 3
    assert verdicts["resnet20_ws_gn"].verdict == verdicts["resnet20_bn"].verdict == "better (n=3)"
    runs = [run for row in group.rows for run in row.runs]
    (again,) = module.compare(runs, "resnet20_gn")
    for pair in itertools.combinations(verdicts, 2):
        (part,) = module.only([again], lambda name, pair=pair: name in pair)
        assert {row.model: row.against for row in part.rows} == {name: verdicts[name] for name in pair}
    (part,) = zoo.compare(results, "resnet20_gn", recipe="laptop-9c06139e", model=["*_bn", "*_ws_gn"])
    assert {row.model: row.against for row in part.rows} == {
        name: verdicts[name] for name in ("resnet20_bn", "resnet20_ws_gn")
    }
    assert {row.machine for row in part.rows} == set(part.machines)


def test_one_seed_claims_nothing() -> None:
    (group,) = compare([result("m_bn"), result("m_up", correct=9900)], "m_bn")
    against = group.rows[0].against
    assert (against.n, against.difference, against.p_value) == (1, pytest.approx(0.09), None)
    assert against.verdict == "needs 3 seeds"


def test_baseline_that_is_nowhere_or_in_two_rows_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown baseline 'm_bnn'.*did you mean 'm_bn'"):
        compare(BASELINE, "m_bnn")
    with pytest.raises(ResultError, match="baseline m_bn stands in 2 rows of standard on cifar10"):
        compare([*BASELINE, result("m_bn", environment__cpu="CPU two")], "m_bn")


def test_group_without_the_baseline_stays_as_it_is() -> None:
    alone = result("m_up", recipe__content=OTHER)
    with_baseline, without = compare([*BASELINE, alone], "m_bn")
    assert [row.against for row in without.rows] == [None]
    assert any(row.against for row in with_baseline.rows)


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_difference_columns(style: str) -> None:
    text = render(compare(BASELINE, "m_bn"), style, Shown("differences"))
    shown = {cells["model"].replace("\\_", "_"): cells for cells in table(text, style)}
    assert shown["m_bn"]["verdict"] == "baseline"
    assert shown["m_up"]["verdict"] == "better (n=3)"
    assert 0 < float(shown["m_up"]["p"]) < 0.05
    assert 0.1 < float(shown["m_same"]["p"]) <= 1
    assert shown["m_up"]["difference"].startswith("+1.00 ± 0.")
    assert (shown["m_lost"]["difference"], shown["m_lost"]["p"]) == ("+2.05", "-")
    assert "difference" not in render(compare(BASELINE), style).lower()


def test_csv_and_json_hold_the_differences() -> None:
    groups = compare(BASELINE, "m_bn")
    frame = frame_of(render(groups, "csv")).set_index("model")
    (told,) = json.loads(render(groups, "json"))
    rows = {row["model"]: row for row in told["rows"]}
    assert rows["m_bn"]["against"] is None
    assert rows["m_up"]["against"]["verdict"] == frame.loc["m_up", "verdict"] == "better (n=3)"
    assert rows["m_up"]["against"]["p_value"] == pytest.approx(frame.loc["m_up", "p_value"])
    assert rows["m_up"]["against"]["interval"] == pytest.approx(
        [frame.loc["m_up", "difference_low"], frame.loc["m_up", "difference_high"]]
    )
    assert rows["m_lost"]["accuracies"] == [0.92, 0.921, None]


# One common seed: by image


def stored(folder: Path, model: str, right: np.ndarray, seed: int = 0, labels: np.ndarray | None = None) -> Stored:
    """A run with predictions: `right` says which of its test images it got."""
    labels = np.arange(len(right)) % 10 if labels is None else labels
    place = RunFolder(folder / model / f"seed{seed}")
    place.path.mkdir(parents=True)
    save_predictions(place.predictions, labels, np.where(right, labels, (labels + 1) % 10), np.ones(len(right)))
    hits = int(right.sum())
    told = {"test__correct": hits, "test__accuracy": hits / len(right), "test__images": len(right)}
    told["test__confusion"] = [[hits, len(right) - hits], [0, 0]]
    return Stored(result(model, seed, hits, dataset__test_images=len(right), **told), place)


def marks(images: int, *wrong: range) -> np.ndarray:
    right = np.ones(images, dtype=bool)
    for rows in wrong:
        right[list(rows)] = False
    return right


def test_of_one_seed_each_the_images_tell_whether_two_networks_differ(tmp_path: Path) -> None:
    base = stored(tmp_path, "m_bn", marks(1000, range(0, 60)))
    # Right on 5 that the baseline misses, wrong on 3 others.
    near = stored(tmp_path, "m_near", marks(1000, range(5, 63)))
    far = stored(tmp_path, "m_far", marks(1000, range(40, 140)))  # 40 and 80
    (group,) = module.compare([base, near, far], "m_bn")
    against = {row.model: row.against for row in group.rows if row.against}
    assert against["m_near"].difference == pytest.approx(0.002)
    assert against["m_far"].difference == pytest.approx(-0.04)
    assert {difference.p_value for difference in against.values()} == {None}
    assert against["m_near"].verdict == "needs 3 seeds"
    assert against["m_far"].verdict == "these two runs differ; needs 3 seeds"


def test_the_least_spread_is_that_of_images_that_flip_between_the_seeds(tmp_path: Path) -> None:
    def table(flips: int) -> float:
        runs = [
            stored(tmp_path / str(flips), model, marks(1000, range(start, start + 60)), seed)
            for model, first in (("m_bn", 0), ("m_ln", 200))
            for seed, start in enumerate((first, first + flips // 2, first))
        ]
        (group,) = module.compare(runs, "m_bn")
        (against,) = [row.against for row in group.rows if row.against]
        return against.interval[1] - against.interval[0]

    assert table(80) == pytest.approx(table(20) * 2, rel=1e-6)  # of equal accuracies: the root of the flips


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    base, other = (stored(tmp_path, name, marks(100, range(9))) for name in ("m_bn", "m_ln"))
    save_predictions(other.folder.predictions, np.zeros(100, int), np.zeros(100, int), np.ones(100))
    with pytest.raises(ResultError, match=r"m_ln/seed0/predictions.npz: does not belong to"):
        module.compare([base, other], "m_bn")
    mixed_up = stored(tmp_path, "m_gn", marks(100, range(9)), labels=np.arange(100)[::-1] % 10)
    with pytest.raises(ResultError, match="are of different test images"):
        module.compare([base, mixed_up], "m_bn")


# Power


def test_power_gives_the_seeds_for_each_size_by_the_upper_end_of_the_spread() -> None:
    (need,) = needs(compare(BASELINE, "m_bn"))
    assert (need.baseline, need.rows) == ("m_bn", 3)
    sets = [[0.9, 0.901, 0.899], [0.91, 0.9112, 0.9089], [0.89, 0.8911, 0.8889], [0.9011, 0.8999, 0.8992]]
    assert need.spread == pytest.approx(np.sqrt(np.mean([np.var(values, ddof=1) for values in sets])))
    low, high = need.spread_interval
    assert low < need.spread < high
    assert need.seeds[0.1] == seeds_needed(0.001, high, 3)
    assert list(need.seeds.values()) == sorted(need.seeds.values(), reverse=True)
    for style in ("text", "markdown", "latex"):
        (shown,) = table(render_power([need], style), style)
        assert shown["for 0.1"] == f"{need.seeds[0.1]:,}"
    frame = frame_of(render_power([need], "csv"))
    assert (frame["seeds_0.1"][0], frame["spread"][0]) == (need.seeds[0.1], need.spread)
    assert json.loads(render_power([need], "json"))[0]["seeds"]["0.1"] == need.seeds[0.1]


def test_power_from_three_seeds_is_what_it_says() -> None:
    """`--power` from three seeds: the real power was 63 to 76 %, not 80."""
    random, models, tables, found = np.random.default_rng(0), ("m_bn", "m_gn", "m_ln", "m_in"), 80, 0
    for _ in range(tables):
        pilot = [result(model, seed, round(random.normal(9000, 49))) for model in models for seed in range(3)]
        (need,) = needs(compare(pilot, "m_bn"), points=(2.0,))
        drawn = [random.normal(0.9 + 0.02 * (model == "m_gn"), 0.0049, need.seeds[2.0]) for model in models]
        base, *others = (Sample(tuple(accuracies), 0.0021**2) for accuracies in drawn)
        found += judge(base, others)[0].differs
    assert found >= 0.8 * tables


def test_power_marks_selection_on_the_test_set() -> None:
    runs = [result(model, seed, 9000 + 10 * seed * size, selection__split="test")
            for size, model in enumerate(("m_bn", "m_ln"), 1) for seed in range(3)]  # fmt: skip
    text = render_power(needs(compare(runs, "m_bn")), "text")
    assert "against m_bn†" in text
    assert "The test set chose these weights" in text


def test_power_needs_three_seeds_and_says_who_has_fewer() -> None:
    pairs = [result(model, seed, 9000 + 7 * seed * size) for size, model in enumerate(("m_bn", "m_ln"), 1)
             for seed in range(2)]  # fmt: skip
    with pytest.raises(ResultError, match="no model and its baseline have 3 seeds each"):
        needs(compare(pairs, "m_bn"))
    groups = compare([*pairs, result("m_bn", 2, 9001), *(result("m_gn", seed, 9100 + seed**2) for seed in range(3)),
                      result("m_in", 7)], "m_bn")  # fmt: skip
    assert [need.rows for need in needs(groups)] == [1]
    assert sorted(too_few(groups)) == [
        f"m_in under {STANDARD_SLUG} (needs 3 seeds)", f"m_ln under {STANDARD_SLUG} (needs 3 seeds)",
    ]  # fmt: skip


# Other metrics than the accuracy


ECE = {"m_bn": (0.010, 0.012, 0.011), "m_ln": (0.014, 0.017, 0.015), "m_gn": (0.011, 0.012, 0.0112)}
PAIRED = [result(model, seed, 9000 - seed, test__ece=ece) for model, values in ECE.items()
          for seed, ece in enumerate(values)]  # fmt: skip


def test_forking_paths_the_view_of_differences_is_corrected_for_all_its_tests() -> None:
    """Forking paths: `--view differences` led to 26 to 33 % false verdicts."""
    (group,) = compare([*PAIRED, result("m_in", 0, test__ece=0.5)], "m_bn")
    shifts = {row.model: row.against.quality["ece"] for row in group.rows if row.against and row.against.quality}
    assert shifts.keys() == {"m_ln", "m_gn"}  # one seed has no verdict
    base, *rows = (Sample(values, 1e-8 / 12) for values in ECE.values())
    for shift, one_metric in zip((shifts["m_ln"], shifts["m_gn"]), judge(base, rows), strict=True):
        assert shift.difference == pytest.approx(one_metric.difference)
        assert shift.p_value == pytest.approx(
            min(1, 8 * one_metric.p_value), abs=1e-4
        )  # seven metrics and the accuracy
        assert (shift.interval[0] > 0 or shift.interval[1] < 0) == (shift.p_value < 0.05)


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_the_view_of_differences_has_verdicts_from_three_seeds_on(style: str) -> None:
    two = [run for run in PAIRED if (run.model.name, run.seed) != ("m_gn", 2)]
    groups = compare(two, "m_bn")
    text = render(groups, style, Shown("differences"))
    shown = {cells["model"].replace("\\_", "_"): cells for cells in table(text, style)}
    told = {row.model: row.against.quality["ece"] for row in groups[0].rows if row.against and row.against.quality}
    column = next(name for name in shown["m_ln"] if name.startswith("ECE"))
    half = 50 * (told["m_ln"].interval[1] - told["m_ln"].interval[0])
    assert shown["m_ln"][column] == f"{100 * told['m_ln'].difference:+.2f} ± {half:.2f} (p {told['m_ln'].p_value:.3f})"
    assert (shown["m_gn"][column], shown["m_gn"]["found from"]) == ("-", "-")
    assert shown["m_ln"]["found from"] == f"{100 * groups[0].rows[-1].against.detectable:.2f}"
    assert shown["m_bn"][column] == "-"
    assert "Speeds on" not in text
    assert "the metric minus the baseline's" in text


def test_differences_of_quality_are_columns_of_csv() -> None:
    groups = compare(PAIRED, "m_bn")
    frame = frame_of(render(groups, "csv")).set_index("model")
    told = next(row for row in groups[0].rows if row.model == "m_ln").against.quality["ece"]
    columns = ["ece_difference", "ece_difference_low", "ece_difference_high", "ece_p_value"]
    assert frame.loc["m_ln", columns].tolist() == [told.difference, *told.interval, told.p_value]
    assert frame.loc["m_bn", ["ece_difference", "ece_p_value"]].isna().all()


def test_no_verdict_against_a_baseline_of_which_a_seed_diverged() -> None:
    runs = [result("m_bn", seed, 9000 + seed if seed < 3 else None) for seed in range(5)]
    runs += [result("m_ln", seed, 8000 + 2 * seed) for seed in range(5)]
    (group,) = compare(runs, "m_bn")
    (against,) = [row.against for row in group.rows if row.against]
    assert (against.n, against.verdict, against.p_value) == (3, "a seed diverged", None)


def test_the_note_on_differences_says_only_what_was_done() -> None:
    (one,) = compare([result("m_bn"), result("m_ln")], "m_bn")  # one seed, and no predictions
    assert "Difference: points from m_bn." in render([one], "text")
    (several,) = compare(PAIRED, "m_bn")
    text = render([several], "text")
    assert "points from m_bn with its 95 % interval; interval and p are of Dunnett's and Welch's tests" in text
    assert "corrected for 2 rows." in text
    assert re.search(r"A true difference of \d\.\d\d points is found with a probability of 80 %\.", text)


# Unlike runs side by side


MIXED = [
    result("m_bn", recipe__content={"precision": "fp32", "epochs": 2, "selection": {"split": "holdout"}}),
    result("m_bn", correct=9_500, selection__split="test",
           recipe__content={"precision": "fp32", "epochs": 40, "clip": 1, "selection": {"split": "test"}}),
    result("m_ln", correct=9_100, dataset__fingerprint="e" * 64,
           recipe__content={"precision": "fp32", "epochs": 2, "selection": {"split": "holdout"}}),
]  # fmt: skip


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_mixed_table_says_field_by_field_what_differs(style: str) -> None:
    assert len(compare(MIXED)) == 3
    (group,) = compare(MIXED, mixed=True)
    assert group.mixed
    text = render([group], style)
    assert "MIXED" in text
    shown = [{key.replace("\\_", "_"): value for key, value in cells.items()} for cells in table(text, style)]
    assert [(cells["epochs"], cells["clip"], cells["selection.split"]) for cells in shown] == [
        ("40", "1", "test"), ("2", "-", "holdout"), ("2", "-", "holdout"),
    ]  # fmt: skip
    assert "precision" not in shown[0]  # all have the same
    assert [cells["test accuracy %"].endswith("†") for cells in shown] == [True, False, False]
    assert "The test set chose these weights" in text


def test_mixed_group_in_csv_and_json() -> None:
    groups = compare(MIXED, mixed=True)
    frame = frame_of(render(groups, "csv"))
    assert frame["epochs"].tolist() == [40, 2, 2]
    (said,) = json.loads(render(groups, "json"))
    assert (said["mixed"], said["recipe_fingerprint"], said["selection"]) == (True, "mixed", "mixed")
    assert said["rows"][0]["differs"]["epochs"] == "40"
    assert compare([], mixed=True) == []


# Other figures


def test_quality_view() -> None:
    groups = compare([result(seed=0, test__loss=0.4), result(seed=1, test__loss=0.6), result("m_old", train=None)])
    shown = {cells["model"]: cells for cells in table(render(groups, "text", Shown("quality")), "text")}
    assert shown["m_bn"] | {
        # Equal values of both seeds: the rounding, 12.7062 / 24 ** 0.5 steps (of 1, 1 / 10,000 images or 1e-4).
        "loss": "0.5000 ± 1.2706", "top-5 %": "99.00 ± 0.03", "ECE %": "10.00 ± 0.03", "Brier": "0.2000 ± 0.0003",
        "train accuracy %": "95.00 ± 0.03", "gap": "+5.00 ± 0.03", "epochs to 90 % of final": "3.0 ± 2.6",
    } == shown["m_bn"]  # fmt: skip
    assert (shown["m_old"]["loss"], shown["m_old"]["gap"], shown["m_old"]["train accuracy %"]) == ("0.5000", "-", "-")
    (group,) = groups
    assert group.rows[0].intervals["loss"] == pytest.approx(student_interval([0.4, 0.6]))
    half = 12.7062 / 24**0.5 / 10_000
    assert group.rows[0].interval == pytest.approx((0.9 - half, 0.9 + half))
    assert group.rows[1].intervals == {}  # one seed
    frame = frame_of(render(groups, "csv"))
    assert frame["loss_high"].tolist() == pytest.approx([1.7706, math.nan], abs=1e-4, nan_ok=True)
    assert "MACs (M)" not in shown["m_bn"]


def test_seconds_to_an_accuracy(tmp_path: Path) -> None:
    runs = []
    for seed, accuracies in enumerate([(0.5, 0.8), (0.8, 0.9), (0.1, 0.85)]):
        folder = RunFolder(tmp_path / f"seed{seed}")
        folder.path.mkdir()
        lines = [EpochRow(i, 0.1, 1.0, 0.5, "holdout", 1.0, value, 1e3, 10.0 + seed, 1.0)
                 for i, value in enumerate(accuracies, 1)]  # fmt: skip
        save_history(folder.history, lines)
        runs.append(Stored(result(seed=seed), folder))
    (group,) = module.compare(runs, seconds_to=0.8)
    assert group.rows[0].seconds_to == 20.0  # of 20, 11 and 24
    assert table(render([group], "text"), "text")[0]["s to 80 %"] == "20"
    (group,) = module.compare(runs, seconds_to=0.85)
    assert group.rows[0].seconds_to is None  # one seed never was
    moved = Stored(result(seed=3, environment__moved_after=1), runs[0].folder)  # its seconds are of two machines
    (group,) = module.compare([*runs, moved], seconds_to=0.8)
    assert group.rows[0].seconds_to is None
    with pytest.raises(ResultError, match="the history cannot be read"):
        compare([result()], seconds_to=0.8)
