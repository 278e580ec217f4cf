"""`zoo compare --tuned`: what was tuned under one budget stands in one table, and nothing else does."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from printed_tables import of_text

from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.results.folder import RunFolder, find_results, load_stored, save_result
from zoo.results.recipe_part import RecipePart
from zoo.results.schema import Result

REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
CHANGES = ("split.train=64", "split.holdout=64", "epochs=1")
TINY = ("--recipe", "smoke", "--layout", "nchw", *(word for change in CHANGES for word in ("--set", change)))
KEYS = ("optimizer.lr", "optimizer.weight_decay")


@pytest.fixture(scope="module")
def made(module_inline) -> SimpleNamespace:
    """Two models tuned with 3 trials, two seeds of each, and runs that do not belong to them.

    One run is a real one; the others are as it with another model, seed, recipe and accuracy.
    """
    cli = module_inline
    (cli.folder / "registry.yaml").write_text(REGISTRY)

    def tune(trials: int, *models: str) -> list[dict[str, Any]]:
        return json.loads(cli.ok("tune", *models, *TINY, "--trials", str(trials), "--format", "json").stdout)

    bn, ln = tune(3, "mini_bn", "mini_ln")
    (other,) = tune(1, "mini_ln")  # another budget
    bn_recipe, ln_recipe, other_recipe = (load_recipe(str(cli.folder / one["path"])) for one in (bn, ln, other))
    cli.ok("bench", "mini_bn", "--layout", "nchw", "--recipe", bn["path"])
    (real,) = map(load_stored, find_results([cli.folder / "runs"]))
    assert real.result.recipe.fingerprint == bn_recipe.fingerprint
    for model, seed, recipe, correct in (
        ("mini_bn", 1, bn_recipe, 520),
        ("mini_ln", 0, ln_recipe, 400),
        ("mini_ln", 1, ln_recipe, 430),
        ("mini_ln", 0, bn_recipe, 300),  # under what was tuned for another model
        ("mini_ln", 0, load_recipe("smoke", [*CHANGES, "precision=fp32"]), 310),  # the recipe that was tuned
        ("mini_ln", 0, other_recipe, 320),
    ):
        store(cli.folder / "runs", real.result, model, seed, recipe, correct)
    return SimpleNamespace(cli=cli, said=[bn, ln], other=other)


def store(runs: Path, real: Result, model: str, seed: int, recipe: Recipe, correct: int) -> None:
    """A result as `real` with these changes, under `runs`."""
    images, classes = real.test.images, len(real.dataset.classes)
    rest = [0] * classes
    test = real.test.model_copy(
        update={
            "correct": correct, "accuracy": correct / images,
            "confusion": [[correct, images - correct, *rest[2:]], *[rest] * (classes - 1)],
            "per_class_accuracy": [correct / images] + [None] * (classes - 1),
        }
    )  # fmt: skip
    part = RecipePart(name=recipe.name, fingerprint=recipe.fingerprint, content=recipe.canonical())
    changed = real.model_copy(
        update={"model": real.model.model_copy(update={"name": model}), "seed": seed, "recipe": part, "test": test}
    )
    folder = RunFolder.of(runs, "shapes10", recipe.slug, model, seed)
    folder.path.mkdir(parents=True, exist_ok=True)
    save_result(folder.result, changed)


def compare(made: SimpleNamespace, *arguments: str, style: str = "json") -> Any:
    output = made.cli.ok("compare", *arguments, "--format", style)
    return json.loads(output.stdout) if style == "json" else output


def test_one_table_per_budget_with_the_values_of_each_model(made) -> None:
    groups = compare(made, "--tuned")
    assert sorted(group["budget"]["trials"] for group in groups) == [1, 3]
    (group,) = (group for group in groups if group["budget"]["trials"] == 3)
    assert group["recipe"] == "smoke-tuned"
    assert group["recipe_fingerprint"] == made.said[0]["budget"]["base"]
    rows = {row["model"]: row for row in group["rows"]}
    assert set(rows) == {"mini_bn", "mini_ln"}
    for one in made.said:
        row = rows[one["model"]]
        assert row["seeds"] == [0, 1]
        assert {key: float(value) for key, value in row["differs"].items()} == pytest.approx(one["values"])
        assert one["budget"] == group["budget"] | {"model": one["model"]}
    (lonely,) = (group["rows"] for group in groups if group["budget"]["trials"] == 1)
    assert [(row["model"], row["seeds"]) for row in lonely] == [("mini_ln", [0])]


def test_what_is_left_out_is_said(made) -> None:
    output = compare(made, "--tuned", style="text")
    assert output.lines == ["left out: 2 runs under recipes that were not tuned for their model"]
    base = made.said[0]["budget"]["base"][:8]
    text = " ".join(output.stdout.split())
    assert "shapes10, recipe smoke-tuned, for each model: 1 epoch, " in text
    assert f"(smoke-tuned of {base})" in text
    assert "3 trials over optimizer.lr from 0.002 to 0.2 (log)" in text
    rows = {row["model"]: row for row in of_text(output.stdout)}
    for one in made.said:
        assert [rows[one["model"]][key] for key in KEYS] == [f"{one['values'][key]:g}" for key in KEYS]
    rows = list(csv.DictReader(io.StringIO(compare(made, "--tuned", style="csv").stdout)))
    assert {(row["model"], row["optimizer.lr"]) for row in rows} >= {
        (one["model"], f"{one['values']['optimizer.lr']:g}") for one in made.said
    }
    assert len({row["budget"] for row in rows}) == 2
    refused = made.cli("compare", "--tuned", "--baseline", "mini_bn", "--power")  # two seeds
    assert (refused.returncode, "no model and its baseline have 3 seeds each" in refused.stderr) == (2, True)


def test_two_seeds_have_a_difference_and_no_verdict(made) -> None:
    (group, _) = sorted(compare(made, "--tuned", "--baseline", "mini_bn"), key=lambda group: -len(group["rows"]))
    rows = {row["model"]: row for row in group["rows"]}
    against = rows["mini_ln"]["against"]
    assert (against["baseline"], against["n"], against["verdict"]) == ("mini_bn", 2, "needs 3 seeds")
    assert against["difference"] == pytest.approx(rows["mini_ln"]["accuracy"] - rows["mini_bn"]["accuracy"])


def test_tuned_verdicts_are_of_these_tuned_values_only(made, tmp_path: Path) -> None:
    """`--tuned` verdicts: seeds after one tuning are no replicates of it; 8 to 28 % were false."""
    runs = [load_stored(path) for path in find_results([made.cli.folder / "runs"])]
    for model, wanted in zip(("mini_bn", "mini_ln"), made.said, strict=True):
        recipe = load_recipe(str(made.cli.folder / wanted["path"]))
        real = next(run.result for run in runs if run.result.recipe.fingerprint == recipe.fingerprint)
        real = real.model_copy(update={"git": None})  # whoever works on zoo has uncommitted changes
        for seed in range(3):
            store(tmp_path, real, model, seed, recipe, 500 + seed)
    sentence = "Verdicts are of these tuned values: tuning again could give others."
    for style in ("text", "markdown", "latex"):
        assert sentence in compare(made, str(tmp_path), "--tuned", "--baseline", "mini_bn", style=style).stdout
    assert sentence not in compare(made, str(tmp_path), "--baseline", "mini_bn", style="text").stdout


def test_without_tuned_each_recipe_is_a_table(made) -> None:
    groups = compare(made)
    assert len(groups) == len({group["recipe_fingerprint"] for group in groups}) == 4
    assert all(group["budget"] is None for group in groups)
    assert all(len(group["rows"]) == 1 or group["recipe"] == "smoke-tuned" for group in groups)


def test_mistakes(made, inline_cli) -> None:
    assert made.cli("compare", "--tuned", "--allow-mixed").lines == [
        "zoo: --tuned cannot go with --allow-mixed: it compares recipes of one budget; leave one out"
    ]
    output = made.cli("compare", "--tuned", "--recipe", "smoke")
    assert output.returncode == 2
    assert "no runs of tuned recipes; `zoo tune` makes such recipes" in output.lines[-1]
