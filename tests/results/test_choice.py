"""A choice among stored runs: made before their files are checked, by what they hold and not by their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_results import OTHER_SLUG, result

from zoo.errors import ResultError, UnknownNameError
from zoo.results import folder as module
from zoo.results import reading
from zoo.results.folder import RunFolder, save_result


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three models, two recipes and two datasets, in folders that are named after other models."""
    whole = [
        result("m_bn"), result("m_ln"), result("x_gn"), result("m_bn", recipe__content__epochs=10),
        result("m_bn", dataset__name="other", dataset__fingerprint="e" * 64),
    ]  # fmt: skip
    for number, run in enumerate(whole):
        place = RunFolder(tmp_path / f"runs/cifar10/standard-{number}/m_bn/seed0")
        place.path.mkdir(parents=True)
        save_result(place.result, run)
    return tmp_path / "runs"


def chosen(runs: Path, **choice: str) -> list[tuple[str, str, int]]:
    found = [run.result for run in reading.read_runs(runs, **choice)]
    return sorted((run.dataset.name, run.model.name, run.recipe.epochs) for run in found)


def test_names_of_folders_choose_nothing(runs: Path) -> None:
    assert chosen(runs, model="x_*") == [("cifar10", "x_gn", 40)]
    assert [name for _, name, _ in chosen(runs, model="m_ln")] == ["m_ln"]
    assert chosen(runs, dataset="other") == [("other", "m_bn", 40)]
    assert chosen(runs, recipe=OTHER_SLUG) == [("cifar10", "m_bn", 10)]
    assert len(chosen(runs, recipe="standard")) == len(chosen(runs)) == 5


def test_files_that_cannot_be_chosen_are_not_checked(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    plain = module._checked
    monkeypatch.setattr(module, "_checked", lambda path, text: checked.append(path) or plain(path, text))
    chosen(runs, model="x_*")
    assert len(checked) == 1


def test_names_in_other_letters_are_found(runs: Path) -> None:
    """JSON may write any letter as its number."""
    path = runs / "cifar10/standard-2/m_bn/seed0/result.json"
    path.write_text(path.read_text().replace("x_gn", "x_\\u0067n").replace('"name"', '"n\\u0061me"'))
    assert chosen(runs, model="x_gn") == [("cifar10", "x_gn", 40)]
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7).replace('"name": ', '"name"\t:\n'))
    assert chosen(runs, model="x_gn") == [("cifar10", "x_gn", 40)]


def test_a_file_that_is_not_whole_is_an_error_whatever_is_chosen(runs: Path) -> None:
    path = runs / "cifar10/standard-2/m_bn/seed0/result.json"
    path.write_text(path.read_text()[:900])
    with pytest.raises(ResultError, match="not valid JSON"):
        chosen(runs, model="m_ln")


def test_a_choice_that_no_run_meets_names_all_runs(runs: Path) -> None:
    with pytest.raises(UnknownNameError, match="x_gn"):
        reading.read_runs(runs, model="x_gm")
    with pytest.raises(UnknownNameError, match="did you mean 'cifar10'"):
        reading.read_runs(runs, dataset="cifar")
    with pytest.raises(UnknownNameError, match="m_zn"):
        reading.read_runs(runs, model=("m_ln", "m_zn"))
