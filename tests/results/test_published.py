"""The word ``published``: runs that come with zoo, in every place that takes a folder of runs, and who may be there."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from run_files import save_edited

import zoo
from zoo.errors import ResultError
from zoo.recipes import catalogue, recipe
from zoo.results import published
from zoo.results.predictions import save_predictions

ROOT = Path(__file__).parents[2]
MODELS = ("resnet20_bn", "resnet20_ln")
QUICK = """
description: "a stand-in for the real one"
extends: smoke
split: {train: 64, holdout: 32}
epochs: 1
precision: fp32
schedule: {peak_epoch: 0.5}
augment:
  train: [Resize: {height: 8, width: 8}, Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}]
  eval: [Resize: {height: 8, width: 8}, Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}]
"""


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish", ROOT / "benchmarks" / "publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


publish = script()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A built-in recipe `quick`."""
    folder = tmp_path_factory.mktemp("recipes")
    shutil.copytree(catalogue.RECIPES, folder, dirs_exist_ok=True)
    (folder / "quick.yaml").write_text(QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "RECIPES", folder)
        yield patch


@pytest.fixture(scope="module")
def trained(quick, module_inline) -> Path:
    """Two norms under that recipe, of a committed state of the code; the run of each stands for five seeds."""
    quick.setattr("zoo.runner.run_one.zoo_commit", lambda: {"commit": "c" * 40, "dirty": False})
    module_inline.ok("bench", *MODELS, "--recipe", "quick")
    for run in list(module_inline.folder.rglob("seed0")):
        for seed in range(1, 5):
            shutil.copytree(run, run.with_name(f"seed{seed}"))
            edited(run.with_name(f"seed{seed}") / "result.json", seed=seed)
    return module_inline.folder / "runs"


@pytest.fixture
def shipped(trained: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs in the package's form, in place of what the package has."""
    folder = tmp_path_factory.mktemp("package") / "published"
    publish.main([str(trained), "--out", str(folder)])
    monkeypatch.setattr(published, "FOLDER", folder)
    return folder


@pytest.fixture
def cli(inline_cli, shipped, monkeypatch):
    return inline_cli


def test_an_own_norm_stands_among_the_published_ones_after_training_nothing_else(cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from torch import nn\n\n\nclass Mine(nn.BatchNorm2d):\n    pass\n")
    (tmp_path / "registry.yaml").write_text("norms:\n  mine: {label: mine, builder: 'mine:Mine'}\n")
    output = cli.ok("bench", "resnet20_mine", "--recipe", "quick", "--seeds", "3")
    assert len(list((tmp_path / "runs").rglob("result.json"))) == 3
    lines = [line for line in output.stdout.splitlines() if line.startswith("resnet20_")]
    rows = {line.split()[0]: line for line in lines[:3]}
    machines = {line.split()[0]: line.split()[-1] for line in lines[3:]}
    assert rows.keys() == {"resnet20_mine", *MODELS}
    assert all("(n=3)" in rows[name] for name in MODELS), "each has a verdict"
    assert f"Machine {machines[MODELS[0]]}: published runs, " in output.stdout
    assert machines["resnet20_mine"] not in [machines[name] for name in MODELS], "another machine's speeds"
    (again,) = [line.partition("again: ")[2] for line in output.lines if line.startswith("10 published runs are in")]
    table = cli.ok(*again.split()[1:]).stdout
    assert {line.split()[0] for line in table.splitlines() if line.startswith("resnet20_")} == rows.keys()


def test_a_folder_of_runs_may_be_the_word(cli, tmp_path: Path) -> None:
    for words in (("compare",), ("report",), ("recipe", "show"), ("plot", "bars")):
        cli.ok(*words, "published")
    assert "10 runs" in cli.ok("report", "published").stdout
    assert len(zoo.load_results("published")) == 10
    assert [row.model for row in zoo.compare("published")[0].rows if row.machine != "a"] == []
    assert "published runs, " in repr(zoo.compare("published", "resnet20_bn"))
    assert not list(published.FOLDER.rglob("model.safetensors"))


def test_a_folder_of_that_name_is_no_trap(cli, trained: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    shutil.copytree(trained / "shapes10", tmp_path / "published" / "shapes10")
    shutil.rmtree(next((tmp_path / "published").rglob("resnet20_ln")))
    output = cli.ok("compare", "published")
    assert "published: these are the runs that come with zoo; what is called so here is ./published" in output.stderr
    assert "resnet20_ln" in output.stdout
    assert "resnet20_ln" not in cli.ok("compare", "./published").stdout
    monkeypatch.chdir(tmp_path)
    assert len(zoo.load_results(Path("published"))) == 5
    assert caplog.text == ""
    assert len(zoo.load_results("published")) == 10
    assert "./published" in caplog.text


def test_own_runs_come_before_published_ones_of_the_same_model(cli, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "shapes10", tmp_path / "runs" / "shapes10")
    shutil.rmtree(next((tmp_path / "runs").rglob("resnet20_ln")))
    output = cli.ok("compare", "runs", "published", "--baseline", "resnet20_bn")
    assert "published runs are left out where there are own ones of resnet20_bn" in output.stderr
    assert [line.split()[0] for line in output.stdout.splitlines() if line.startswith("resnet20_")].count(
        MODELS[0]
    ) == 1


def test_a_zoo_that_would_train_otherwise_refuses_them(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "HARNESS_VERSION", 2)
    output = cli("compare", "published")
    assert (output.returncode, output.stdout, len(output.lines)) == (2, "", 1)
    assert "are of another zoo, which trains otherwise than this one" in output.stderr
    output = cli.ok("bench", "resnet20_gn", "--recipe", "quick")
    assert "which trains otherwise than this one" in output.stderr
    assert "resnet20_bn" not in output.stdout


def test_runs_of_another_recipe_or_dataset_are_not_ranked_with_them(cli, tmp_path: Path) -> None:
    output = cli.ok("bench", "resnet20_gn", "--recipe", "quick", "--set", "precision=bf16", "--set", "batch_size=16")
    assert "not in the table: they have batch_size 32, here 16, precision fp32, here bf16" in output.stderr
    assert "resnet20_bn" not in output.stdout


def test_without_data_one_line_says_so(inline_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "FOLDER", tmp_path / "nothing")
    for words in (("compare",), ("report",), ("plot", "bars"), ("serve",)):
        output = inline_cli(*words, "published")
        assert (output.returncode, len(output.lines)) == (2, 1)
        assert "this version of zoo comes without published runs" in output.stderr
    with pytest.raises(ResultError, match="without published runs"):
        zoo.compare("published")


def test_what_the_package_ships_is_what_the_script_would_take() -> None:
    """Also that this zoo still trains as it did."""
    if published._recipes():
        assert published.published_runs() == published.FOLDER
        zoo.compare("published")


def edited(path: Path, **changes: Any) -> None:
    """Change parts of a result."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, name = key.rpartition("__")
        (content[part] if part else content)[name] = value
    save_edited(path, content)


def other_recipe(folder: Path) -> None:
    for path in folder.rglob("result.json"):
        content = json.loads(path.read_text())
        content["recipe"]["content"]["batch_size"] = 16
        save_edited(path, content)


REFUSED = {
    "not finished": lambda folder: (folder / "result.json").unlink(),
    "is not complete": lambda folder: (folder / "history.csv").unlink(),
    "has 4 of 5 seeds": shutil.rmtree,
    "lacks seeds [5]": lambda folder: [
        shutil.copytree(folder, folder.with_name("seed5")), edited(folder.with_name("seed5") / "result.json", seed=5)
    ],
    "uncommitted": lambda folder: edited(folder / "result.json", git={"commit": "c" * 40, "dirty": True}),
    "commit of its code is not known": lambda folder: edited(folder / "result.json", git=None),
    "2 machines": lambda folder: edited(folder / "result.json", environment__cpu="another"),
    "went on with other hardware": lambda folder: edited(folder / "result.json", environment__moved_after=1),
    "is not the recipe quick of this zoo": lambda folder: other_recipe(folder.parents[1]),
    "some are there twice": lambda folder: shutil.copytree(folder, folder.with_name("copy")),
    "predictions are of another run": lambda folder: save_predictions(
        folder / "predictions.npz", np.zeros(500), np.ones(500), np.ones(500)
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_runs_that_are_no_basis_for_others_are_not_published(trained, tmp_path: Path, words: str, capsys) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trained, runs, ignore=shutil.ignore_patterns("*.safetensors"))
    REFUSED[words](next(runs.rglob("resnet20_bn")) / "seed0")
    with pytest.raises(SystemExit) as ended:
        publish.main([str(runs), "--out", str(tmp_path / "out")])
    assert words in str(ended.value)
    assert not (tmp_path / "out").exists()


def test_publishing_again_takes_the_place_of_what_was_published(shipped: Path, trained: Path, capsys) -> None:
    old = next(shipped.glob("shapes10/quick-*"))
    old.rename(old.with_name("quick-00000000"))
    publish.main([str(trained), "--out", str(shipped)])
    assert [path.name for path in shipped.glob("shapes10/*")] == [old.name]
    printed = capsys.readouterr().out
    size = sum(path.stat().st_size for path in shipped.rglob("*") if path.is_file())
    assert printed.startswith("10 runs, 30 files, ")
    assert f"{size / 1e6:.2f} MB" in printed
