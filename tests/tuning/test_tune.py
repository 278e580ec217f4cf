"""`zoo tune`: equal budgets, a recipe that says what it cost, no look at the test images; tiny, real trainings."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from printed_tables import of_text

from zoo.data.datasets import Dataset
from zoo.errors import RecipeError
from zoo.recipes.diff import differences
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.render.tuning import render
from zoo.tuning.outcome import Tuning
from zoo.tuning.space import budget, check_recipe, make_space, parse_range
from zoo.tuning.study import Trial, Trials, opened
from zoo.utils.lock import lock

REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
MODELS = ("mini_bn", "mini_ln")
CHANGES = ("split.train=96", "split.holdout=64", "epochs=2", "schedule.peak_epoch=1")
TINY = ("--recipe", "smoke", "--layout", "nchw", *(word for change in CHANGES for word in ("--set", change)))
KEYS = ("optimizer.lr", "optimizer.weight_decay")
TRIALS = 6


def tune(cli: Any, *arguments: str, code: int = 0) -> Any:
    """``zoo tune`` of the tiny recipe; what it printed as JSON, or the whole output where it is to fail."""
    (cli.folder / "registry.yaml").write_text(REGISTRY)
    output = cli("tune", *TINY, "--format", "json", *arguments)
    assert output.returncode == code, output.stderr
    return json.loads(output.stdout) if code == 0 else output


@pytest.fixture(scope="module")
def tuned(module_inline) -> SimpleNamespace:
    """Both models, tuned once; tests that change something take a copy."""
    said = tune(module_inline, *MODELS, "--trials", str(TRIALS))
    return SimpleNamespace(said=said, folder=module_inline.folder, base=load_recipe("smoke", CHANGES))


@pytest.fixture
def copied(inline_cli, tuned):
    """The command line in a folder with a copy of those studies."""
    shutil.copytree(tuned.folder / "runs", inline_cli.folder / "runs")
    (inline_cli.folder / "registry.yaml").write_text(REGISTRY)
    return inline_cli


def test_every_model_has_the_same_budget_and_its_own_best(tuned) -> None:
    assert [one["model"] for one in tuned.said] == list(MODELS)
    first, second = ({**one["budget"], "model": None} for one in tuned.said)
    assert first == second
    for one in tuned.said:
        trials = one["all"]
        assert len(trials) == one["trials"] == TRIALS
        assert trials[0]["values"] == {"optimizer.lr": 0.02, "optimizer.weight_decay": 5e-4}  # smoke's own
        for key, own in trials[0]["values"].items():
            looked = first["over"][key]
            assert (looked["low"], looked["high"]) == pytest.approx((own / 10, own * 10))
            assert all(looked["low"] <= trial["values"][key] <= looked["high"] for trial in trials)
            assert len({trial["values"][key] for trial in trials}) == TRIALS
        whole = [trial["holdout_accuracy"] for trial in trials if trial["holdout_accuracy"] is not None]
        assert one["holdout_accuracy"] == max(whole)
        assert one["holdout_accuracy"] >= one["own_holdout_accuracy"] == whole[0]
        assert one["values"] == trials[one["best_trial"] - 1]["values"]
        assert one["epochs"] == sum(len(trial["epochs"]) for trial in trials)
        for trial in trials:  # smoke selects the last epoch
            pruned = trial["holdout_accuracy"] is None
            assert len(trial["epochs"]) == 1 if pruned else trial["epochs"][-1] == trial["holdout_accuracy"]
    first, second = ([trial["values"] for trial in one["all"][:4]] for one in tuned.said)
    assert first == second  # what is spread evenly; the rest is learned from results


def test_the_recipe_file_is_the_base_with_the_values_and_what_they_cost(tuned) -> None:
    prints = set()
    for one in tuned.said:
        path = tuned.folder / one["path"]
        assert "extends: smoke" in path.read_text()
        recipe = load_recipe(str(path))
        base = tuned.base.with_precision(recipe.precision)
        assert recipe.slug == one["recipe"]
        assert recipe.tuned.model_dump(mode="json") == one["budget"]
        assert recipe.tuned.base == base.fingerprint
        told = {item.key: item.b for item in differences(base.canonical(), recipe.canonical())}
        assert {key: value for key, value in told.items() if not key.startswith("tuned.")} == {
            key: value for key, value in one["values"].items() if value != one["all"][0]["values"][key]
        }
        prints |= {recipe.fingerprint, base.fingerprint}
    assert len(prints) == 3


def test_files_left_are_the_study_and_the_recipe(tuned) -> None:
    """No weights, and nothing that `zoo compare` or `zoo serve` would take for a run."""
    left = sorted(path.name for path in (tuned.folder / "runs").rglob("*") if not path.is_dir())
    assert left == ["smoke-tuned.yaml", "smoke-tuned.yaml", "study.db", "study.db"]


@pytest.fixture
def no_test_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever asks a data set for its test images fails."""
    split = Dataset.split

    def guarded(self: Dataset, name: str) -> Any:
        if name == "test":
            raise AssertionError("the test images were read")
        return split(self, name)

    monkeypatch.setattr(Dataset, "split", guarded)


def test_the_test_images_are_never_read(inline_cli, tuned, no_test_images) -> None:
    (one,) = tune(inline_cli, MODELS[0], "--trials", "3")
    assert one["all"] == tuned.said[0]["all"][:3]
    output = inline_cli("bench", MODELS[0], *TINY)  # a bench of the same cannot do without
    assert "the test images were read" in output.stderr


def test_the_same_command_again_trains_nothing_and_more_trials_go_on(copied, tuned) -> None:
    assert tune(copied, *MODELS, "--trials", str(TRIALS)) == tuned.said
    fewer = tune(copied, *MODELS, "--trials", "4")
    assert [one["all"] for one in fewer] == [one["all"][:4] for one in tuned.said]
    assert {one["budget"]["trials"] for one in fewer} == {4}
    (more,) = tune(copied, MODELS[0], "--trials", str(TRIALS + 1))
    assert more["all"][:TRIALS] == tuned.said[0]["all"]
    assert more["trials"] == TRIALS + 1
    (again,) = tune(copied, MODELS[0], "--trials", "1", "--restart")
    assert again["all"] == tuned.said[0]["all"][:1]


def test_a_tuned_recipe_is_changed_no_further(tuned) -> None:
    path = str(tuned.folder / tuned.said[0]["path"])
    for change in ("epochs=30", "optimizer.momentum=0.5", "split.holdout=32"):
        with pytest.raises(RecipeError, match="more than the tuned values was changed since; set tuned=null"):
            load_recipe(path, [change])
    with pytest.raises(
        RecipeError, match=r"optimizer.lr: 7 is outside \S+ to \S+, where it was looked for; set tuned="
    ):
        load_recipe(path, ["optimizer.lr=7"])
    with pytest.raises(RecipeError, match="a tuned recipe has fp32, bf16 or fp16"):
        load_recipe(path, ["precision=auto"])
    plain = load_recipe(path, ["epochs=30", "tuned=null"])
    assert "tuned" not in plain.canonical()
    with pytest.raises(RecipeError, match="is the result of tuning"):
        check_recipe(load_recipe(path))


def test_an_end_of_a_range_that_the_data_cannot_have_is_told_before_any_trial(inline_cli) -> None:
    asked = ("--over", "batch_size", "--range", "batch_size=4:100000:log", "--trials", "1")
    output = inline_cli("tune", "resnet20_bn", "--recipe", "smoke", *asked)
    assert output.returncode == 2
    assert "--range batch_size, recipe 'smoke': " in output.lines[-1]
    assert "batch_size 100000 is more than the" in output.lines[-1]
    assert not (inline_cli.folder / "runs").exists()


def test_trials_that_diverge_count_and_lose(inline_cli) -> None:
    wide = ("--over", "optimizer.lr", "--trials")
    (one,) = tune(inline_cli, "mini_none", *wide, "3", "--range", "optimizer.lr=0.02:1e30:log")
    assert (one["trials"], one["diverged"] > 0) == (3, True)
    assert {trial["holdout_accuracy"] for trial in one["all"] if trial["diverged"]} == {0.0}
    assert one["values"] == {"optimizer.lr": 0.02}
    hopeless = (*wide, "1", "--range", "optimizer.lr=1e29:1e31:log", "--set", "optimizer.lr=1e30")
    (one,) = tune(inline_cli, "mini_none", *hopeless)
    assert (one["diverged"], one["recipe"], one["path"]) == (1, None, None)
    text = inline_cli("tune", "mini_none", *TINY, *hopeless)
    assert "every trial diverged" in text.stdout
    assert "zoo bench" not in text.stderr


def test_text_says_the_budget_and_what_to_do_next(copied, tuned) -> None:
    output = copied("tune", *TINY, *MODELS, "--trials", str(TRIALS), "--range", "optimizer.lr=0.002:0.2:log")
    for one in tuned.said:  # the range that was given is the one by default: the same study
        (row,) = [row for row in of_text(output.stdout) if row["model"] == one["model"]]
        assert row["held out %"] == f"{100 * one['holdout_accuracy']:.2f} ({100 * one['own_holdout_accuracy']:.2f})"
        assert f"next: zoo bench {one['model']} --recipe {one['path']} --seeds 3" in output.lines
    assert "6 trials over optimizer.lr from 0.002 to 0.2 (log)" in " ".join(output.stdout.split())
    assert output.lines[-1] == "then: zoo compare --tuned"
    for style in ("markdown", "latex", "csv"):
        assert MODELS[0].replace("_", "\\_" if style == "latex" else "_") in copied(
            "tune", *TINY, *MODELS, "--trials", str(TRIALS), "--format", style
        ).stdout  # fmt: skip


def test_csv_keeps_integers_beside_a_model_of_which_every_trial_diverged() -> None:
    recipe = load_recipe("laptop")
    told = budget(recipe, "m", make_space(recipe, KEYS, {}), 1, True, 0)
    whole, gone = (Trial(0, {"optimizer.lr": 0.1}, accuracy, [accuracy], not accuracy) for accuracy in (0.5, 0.0))
    text = render(
        [Tuning("m_bn", told, [whole], whole, recipe, Path("x")), Tuning("m_ln", told, [gone], None, None, None)],
        "csv", "title",
    )  # fmt: skip
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["best_trial"], first["values.optimizer.lr"], first["diverged"]) == ("1", "0.1", "0")
    assert (second["best_trial"], second["values.optimizer.lr"], second["diverged"]) == ("", "", "1")
    assert "all" not in first
    assert first["budget.pruner.warmup_epochs"] == str(told.pruner.warmup_epochs)


def test_another_definition_another_process_and_a_damaged_study(copied, tuned) -> None:
    (path,) = (tuned.folder / "runs").glob("*/*/*/mini_bn/study.db")
    path = copied.folder / path.relative_to(tuned.folder)
    with lock(path):
        assert "study.db: another zoo (process" in tune(copied, "mini_bn", "--trials", "6", code=2).lines[-1]
    (copied.folder / "registry.yaml").write_text(REGISTRY.replace("width: 4", "width: 8"))
    output = copied("tune", "mini_bn", *TINY, "--trials", "6")
    assert output.returncode == 2
    assert "another definition of mini_bn: its architecture differs in kwargs; give --restart" in output.lines[-1]
    path.write_bytes(b"no study at all" * 1000)
    last = tune(copied, "mini_bn", "--trials", "6", code=2).lines[-1]
    assert "study.db: the trials cannot be read (file is not a database)" in last
    assert "--restart" in last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--recipe", "eva6s8"), ("'eva6s8' selects on the test set", "selection.split=holdout --set split.holdout")),
        (("--set", "split.holdout=0"), ("has no validation set", "--set split.holdout=5000")),
        (("--over", "epochs"), ("--over epochs: is the budget",)),
        (("--over", "split.train"), ("--over split.train: is the budget or the measure",)),
        (("--over", "optimizer.lrr"), ("has no such number; did you mean 'optimizer.lr' or",)),
        (("--over", "optimizer.name"), ("has no such number",)),
        (("--over", "optimizer.momentum"), ("has no range of its own; add --range optimizer.momentum=LOW:HIGH",)),
        (("--over", ","), ("expected keys with commas",)),
        (("--range", "optimizer.lr=0.1:1"), ("recipe's own 0.02 is outside", "widen the range")),
        (("--range", "optimizer.lr=0:1:log"), ("a logarithm needs a LOW above 0",)),
        (("--range", "optimizer.lr=1:0"), ("LOW must be below HIGH",)),
        (("--range", "optimizer.lr=a:b"), ("expected KEY=LOW:HIGH",)),
        (("--range", "optimizer.lr=0.1:inf"), ("expected KEY=LOW:HIGH",)),
        (("--range", "optimizer.momentum=0.5:0.9"), ("--range optimizer.momentum: is not tuned",)),
        (("--over", "optimizer.momentum", "--range", "optimizer.momentum=0.5:1.5"), ("momentum: ", "less than 1")),
        (("--over", "batch_size", "--range", "batch_size=16:64.5"), ("batch_size is a whole number",)),
        (("--set", "optimizer.weight_decay=0"), ("is 0 in the recipe", "--range optimizer.weight_decay=0:HIGH")),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_any_trial(inline_cli, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    output = inline_cli("tune", "resnet20_bn", "--recipe", "smoke", "--trials", "2", *arguments)
    assert (output.returncode, output.stdout) == (2, "")
    (line,) = output.lines
    assert all(word in line for word in words), line
    assert not (inline_cli.folder / "runs").exists()


def test_without_optuna_it_says_what_to_install(inline_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    output = inline_cli("tune", "resnet20_bn", "--recipe", "smoke", "--trials", "2")
    assert output.lines == ["zoo: tuning needs optuna, which is not installed; pip install optuna"]


# The study by itself, without trainings

TOGETHER, EPOCHS = 8, 4


def study_of(folder: Path, whole: bool = False) -> Any:
    """A study over the learning rate and, where `whole`, the batch size."""
    recipe = load_recipe("laptop", ["precision=fp32", f"epochs={EPOCHS}"])
    over = ["optimizer.lr", "optimizer.weight_decay", *(["batch_size"] if whole else [])]
    space = make_space(recipe, over, dict([parse_range("batch_size=16:256:log")] if whole else []))
    return opened(folder, space, budget(recipe, "m", space, 20, True, 3))


def objective(values: dict[str, float], epoch: int) -> float:
    """Made up: best at a learning rate of 0.3."""
    return max(0.0, 0.9 - abs(values["optimizer.lr"] - 0.3) - 0.01 * (EPOCHS - epoch))


def go_on(study: Trials, stop_after: int | None = None) -> bool:
    """One trial, or its first `stop_after` epochs; whether it was left unfinished."""
    trial = study.next()
    values = study.values(trial)
    for epoch in range(1, EPOCHS + 1):
        if study.report(trial, epoch, objective(values, epoch)) and epoch < EPOCHS:
            study.finish(trial, None)
            return False
        if epoch == stop_after:
            return True
    study.finish(trial, objective(values, EPOCHS))
    return False


def test_a_study_that_is_interrupted_anywhere_tries_the_same(tmp_path) -> None:
    with study_of(tmp_path / "whole", whole=True) as study:
        for _ in range(TOGETHER):
            go_on(study)
        wanted = study.finished()
    assert [trial.number for trial in wanted] == list(range(TOGETHER))
    assert any(trial.pruned for trial in wanted)
    assert not any(trial.pruned for trial in wanted[:4])
    assert all(len(trial.accuracies) > EPOCHS // 3 for trial in wanted)  # the first third is not judged
    assert max(trial.accuracy for trial in wanted if not trial.pruned) > objective({"optimizer.lr": 0.1}, EPOCHS)
    assert all(isinstance(trial.values["batch_size"], int) for trial in wanted)
    for stop in (1, 3, None, 2, None, 3):  # opened anew for each part, as by another process
        with study_of(tmp_path / "parts", whole=True) as study:
            go_on(study, stop)
    with study_of(tmp_path / "parts", whole=True) as study:
        assert len(study.finished()) < TOGETHER
        while len(study.finished()) < TOGETHER:
            go_on(study)
        assert study.finished() == wanted


def test_the_evenly_spread_trials_differ_by_seed_alone(tmp_path) -> None:
    recipe = load_recipe("laptop")
    space = make_space(recipe, KEYS, {})
    points = [space.point(number, 0) for number in range(1, 9)]
    assert points == [space.point(number, 0) for number in range(1, 9)]
    assert points[0] != space.point(1, 1)
    for key, looked in space.ranges.items():  # of eight, half lie in each half of the logarithm
        middle = (looked.low * looked.high) ** 0.5
        assert sum(point[key] < middle for point in points) == 4


def test_without_a_pruner_nothing_of_it_is_in_the_fingerprint(tuned) -> None:
    space = make_space(tuned.base, KEYS, {})
    base = tuned.base.with_precision("fp32")
    told = [budget(base, "mini_bn", space, 4, pruned, 0) for pruned in (True, False)]
    recipes = [Recipe.model_validate(base.model_dump() | {"tuned": one.model_dump()}) for one in told]
    assert recipes[0].fingerprint != recipes[1].fingerprint
    assert "pruner" not in recipes[1].canonical()["tuned"]


@pytest.mark.parametrize("name", ["a?b", "a%41", "{x}", "a?b=c&d"])
def test_row_11_trials_are_in_the_folder_that_was_named(tmp_path: Path, name: str) -> None:
    """A path is no part of a URL: of two folders that begin alike, one once had the trials of both."""
    with study_of(tmp_path / name) as study:
        go_on(study)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        f"{name}/study.db"
    ]
    with study_of(tmp_path / name) as study:
        assert len(study.finished()) == 1
