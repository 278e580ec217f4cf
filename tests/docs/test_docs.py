"""Numbers in docs/ are those of the committed runs."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.comparison.groups import compare
from zoo.recipes.load import load_recipe
from zoo.render.batch_size import render
from zoo.render.eva6s8 import render as render_way
from zoo.render.marks import disturbed_mark
from zoo.results.folder import find_results, load_all, load_stored
from zoo.results.history import load_history
from zoo.studies.batch_size import batch_size_recipes, batch_sizes
from zoo.studies.eva6s8 import ablation, reference_recipes

ROOT = Path(__file__).parents[2]


def test_batch_size_table_is_that_of_the_committed_runs() -> None:
    overrides, sizes = ["epochs=3", "schedule.peak_epoch=1", "precision=bf16"], [2, 8, 32, 128]
    recipes = batch_size_recipes("laptop", overrides, sizes, "linear")
    runs = load_all(find_results([ROOT / "benchmarks" / "studies" / "batch-size"]))
    order = ["resnet20_bn", "resnet20_ln", "resnet20_gn"]
    runs.sort(key=lambda run: order.index(run.result.model.name))
    stored = {
        size: [run for run in runs if run.result.recipe.fingerprint == recipe.fingerprint]
        for size, recipe in recipes.items()
    }
    assert sum(map(len, stored.values())) == len(runs) == 12
    text = (ROOT / "docs" / "batch-size.md").read_text()
    table = re.search(r"<!-- study -->\n(.*?)<!-- end -->", text, re.DOTALL)[1]
    assert (
        table.strip()
        == render(batch_sizes(load_recipe("laptop", overrides), "linear", recipes, stored), "markdown").strip()
    )
    for run in runs:
        assert run.result.git["dirty"] is False
        assert run.folder.history.is_file()
        assert run.folder.predictions.is_file()


def cells(text: str, mark: str) -> list[list[str]]:
    """The rows of the Markdown table after ``<!-- mark -->``, without its head."""
    table = re.search(rf"<!-- {mark} -->\n(.*?)<!-- end -->", text, re.DOTALL)[1]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_trials_of_fast_are_the_committed_runs() -> None:
    folder = ROOT / "benchmarks" / "studies" / "fast"
    shown = cells((ROOT / "docs" / "engineering" / "fast-trials.md").read_text(), "trials")
    told = set()
    for run in load_all(find_results([folder])):
        result = run.result
        content = result.recipe.content
        assert result.git["dirty"] is False
        changes = [
            f"optimizer.lr={content['optimizer']['lr']}",
            f"loss.label_smoothing={content['loss']['label_smoothing']}",
        ]
        told.add((
            f"base-{result.recipe.fingerprint[:8]}", result.model.name, f"{content['optimizer']['lr']:g}",
            "lookahead" if content.get("lookahead") else "none", f"{content['loss']['label_smoothing']:g}",
            f"{100 * result.holdout.accuracy:.2f}",
        ))  # fmt: skip
        if not content.get("lookahead"):
            changes.append("lookahead=null")
        # With `lookahead` those were evaluated with the trained weights; what the harness does now has another number.
        now = load_recipe(str(folder / "base.yaml"), changes).canonical()
        assert now | {"harness": 1} == content
    assert {tuple(row) for row in shown} == told
    assert len(shown) == len(told)


def test_the_runs_of_fast_are_the_committed_ones() -> None:
    shown = cells((ROOT / "docs" / "fast.md").read_text(), "final")
    told = []
    for run in load_all(find_results((ROOT / "benchmarks" / "results").glob("*/fast-*"))):
        result = run.result
        assert result.git["dirty"] is False
        mark = disturbed_mark("train_images_per_second" in result.speed.disturbed)
        told.append([
            f"fast-{result.recipe.fingerprint[:8]}", result.model.name, str(result.epochs_trained),
            f"{100 * result.test.accuracy:.2f}", f"{100 * result.holdout.accuracy:.2f}",
            f"{100 * result.train.accuracy:.2f}", f"{result.wall_seconds / 60:.1f}{mark}",
        ])  # fmt: skip
    assert sorted(shown) == sorted(told)
    assert f"fast-{load_recipe('fast', ['precision=bf16']).fingerprint[:8]}" in {row[0] for row in shown}


def test_the_way_from_eva6s8_is_that_of_the_committed_runs() -> None:
    overrides = ["split.train=10000", "batch_size=128", "precision=bf16"]
    runs = load_all(find_results([ROOT / "benchmarks" / "studies" / "eva6s8"]))
    wanted = reference_recipes(overrides, 8)
    stored = [
        [
            run
            for run in runs
            if (run.result.recipe.fingerprint, run.result.model.norm) == (recipe.fingerprint, step.norm)
        ]
        for step, recipe in wanted
    ]
    assert sum(map(len, stored)) == len(runs) == len(wanted)
    assert all(run.result.git["dirty"] is False for run in runs)
    title = f"eva6s8 to standard: cifar10-jpeg, resnet18_w16, 8 epochs, {' '.join(overrides)}"
    text = (ROOT / "docs" / "reproducing-eva6s8.md").read_text()
    table = re.search(r"<!-- study -->\n(.*?)<!-- end -->", text, re.DOTALL)[1]
    assert table.strip() == render_way(ablation([step for step, _ in wanted], stored), "markdown", title).strip()


def test_the_small_scale_of_the_reference_experiment_is_its_committed_run() -> None:
    text = (ROOT / "docs" / "reproducing-eva6s8.md").read_text()
    (path,) = (ROOT / "benchmarks" / "studies" / "eva6s8").rglob("resnet18_w16_in/seed0/result.json")
    stored = load_stored(path)
    result, history = stored.result, load_history(stored.folder.history)
    last = 100 * history[-1].running_train_accuracy
    for told in (
        f"{100 * result.test.accuracy:.2f} % (epoch {result.selection.epoch}), train {last:.2f} %",
        "by epoch: " + ", ".join(f"{100 * row.eval_accuracy:.2f}" for row in history),
        f"small scale {result.test.images - result.test.correct:,} |",
        f"plane {100 * result.test.per_class_accuracy[0]:.0f}, car {100 * result.test.per_class_accuracy[1]:.0f}",
    ):
        assert told in text


def test_the_real_layernorm_is_its_committed_run() -> None:
    text = (ROOT / "docs" / "reproducing-eva6s8.md").read_text()
    stored = load_stored(ROOT / "benchmarks/results/cifar10-jpeg/fast-b381d212/resnet18_ln/seed0/result.json")
    result, history = stored.result, load_history(stored.folder.history)
    test, holdout = 100 * result.test.accuracy, 100 * result.holdout.accuracy
    assert test > 82.99
    assert (result.git["dirty"], result.selection.split, result.selection.rule) == (False, "holdout", "last")
    assert f"**{test:.2f} % of the test images, {holdout:.2f} % of the held-out ones**" in text
    assert "Held out, by epoch: " + ", ".join(f"{100 * row.eval_accuracy:.2f}" for row in history) in text
    assert f"{result.wall_seconds / 60:.1f} minutes" in text


def test_the_committed_tuned_runs_are_of_the_committed_recipes() -> None:
    folder = ROOT / "benchmarks" / "studies" / "tune"
    runs = load_all(find_results([folder]))
    for run in runs:
        recipe = load_recipe(str(folder / run.result.model.name / "laptop-tuned.yaml"))
        assert run.result.recipe.fingerprint == recipe.fingerprint
        assert run.result.git["dirty"] is False
    (group,) = compare(runs, "resnet20_bn", tuned=True)
    assert len(group.rows) == 2
