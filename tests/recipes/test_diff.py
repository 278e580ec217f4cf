"""What differs between two recipes, and where a recipe comes from: a name, a file, changes to either, stored runs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import yaml

from zoo.errors import RecipeError, ResultError, UnknownNameError
from zoo.recipes.catalogue import recipe_names
from zoo.recipes.diff import Difference, differences, flatten
from zoo.recipes.load import load_recipe
from zoo.render.recipes import as_differences, as_yaml
from zoo.results.recipe_source import find

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def content(name: str, *overrides: str) -> dict:
    return load_recipe(name, overrides).canonical()


def steps(*transforms: dict) -> dict:
    return {"augment": {"train": list(transforms)}}


def keys(a: dict, b: dict) -> list[str]:
    return [item.key for item in differences(a, b)]


CROP, FLIP = {"RandomCrop": {"height": 32}}, {"HorizontalFlip": {"p": 0.5}}
GREY, NORM = {"ToGray": {}}, {"Normalize": {"mean": [0.5, 0.5], "std": [1, 1]}}


def test_flatten() -> None:
    assert flatten({"epochs": 3, "optimizer": {"name": "adamw", "betas": [0.9, 0.99]}} | steps(CROP, GREY, NORM)) == {
        "epochs": 3,
        "optimizer.name": "adamw",
        "optimizer.betas": [0.9, 0.99],
        "augment.train[0].RandomCrop.height": 32,
        "augment.train[1].ToGray": {},
        "augment.train[2].Normalize.mean": [0.5, 0.5],
        "augment.train[2].Normalize.std": [1, 1],
    }
    assert flatten({}) == {}
    assert flatten({"augment": {"train": []}}) == {"augment.train": []}
    flat = flatten(content("standard"))
    assert flat["augment.train[3].Cutout.max_h_size"] == 8
    assert flat["selection.split"] == "holdout"
    assert "ema.decay" not in flat
    assert "clip_grad_norm" not in flat


def test_one_field() -> None:
    assert differences(content("laptop"), content("laptop", "optimizer.lr=0.05")) == [
        Difference("optimizer.lr", 0.1, 0.05)
    ]
    change = "augment.train=[{Cutout: {num_holes: 1, max_h_size: 4}}]"
    other = change.replace("4", "6")
    assert differences(content("smoke", change), content("smoke", other)) == [
        Difference("augment.train[0].Cutout.max_h_size", 4, 6)
    ]


def test_what_is_off_is_none() -> None:
    found = differences(content("standard"), content("standard", "ema.decay=0.99", "clip_grad_norm=1"))
    assert found == [Difference("ema.decay", None, 0.99), Difference("clip_grad_norm", None, 1)]
    found = differences(content("standard", "ema.decay=0.99"), content("standard"))
    assert found == [Difference("ema.decay", 0.99, None)]


def test_a_section_of_another_kind() -> None:
    adamw = "optimizer={name: adamw, lr: 0.1, betas: [0.9, 0.99], weight_decay: 5.0e-4, decay_norm_and_bias: false}"
    assert differences(content("laptop"), content("laptop", adamw)) == [
        Difference("optimizer.name", "sgd", "adamw"),
        Difference("optimizer.momentum", 0.9, None),
        Difference("optimizer.nesterov", True, None),
        Difference("optimizer.betas", None, [0.9, 0.99]),
    ]


def test_a_transform_left_out_shifts_no_other() -> None:
    assert keys(steps(CROP, FLIP, NORM), steps(CROP, NORM)) == ["augment.train[1].HorizontalFlip.p"]
    assert keys(steps(CROP, NORM), steps(CROP, FLIP, NORM)) == ["augment.train[1].HorizontalFlip.p"]
    assert differences(steps(NORM), steps(GREY, NORM)) == [Difference("augment.train[0].ToGray", None, {})]
    assert keys(steps(), steps(FLIP)) == ["augment.train[0].HorizontalFlip.p"]
    assert keys(steps(GREY), steps({"ToGray": {"p": 1}})) == ["augment.train[0].ToGray.p"]


def test_the_order_of_transforms_counts() -> None:
    found = differences(steps(CROP, FLIP), steps(FLIP, CROP))
    assert len(found) == 2
    assert {item.a is None for item in found} == {True, False}
    assert {item.key.split(".", 2)[2] for item in found} in ({"RandomCrop.height"}, {"HorizontalFlip.p"})


def test_true_is_not_one() -> None:
    """It is not in the fingerprint either."""
    assert differences({"p": True}, {"p": 1}) == [Difference("p", True, 1)]


VARIANTS = [(name,) for name in recipe_names()] + [
    ("laptop", "epochs=6"),
    ("laptop", "epochs=6.0"),
    ("laptop", "augment.eval=[]"),
    ("laptop", "augment.train=[{HorizontalFlip: {p: 1}}]"),
    ("laptop", "augment.train=[{HorizontalFlip: {p: true}}]"),
    ("laptop", "augment.train=[{HorizontalFlip: {}}, {HorizontalFlip: {p: 1}}]"),
    ("laptop", "augment.train=[{HorizontalFlip: {p: 1}}, {HorizontalFlip: {}}]"),
    ("laptop", "precision=fp32"),
    ("laptop", "schedule={name: constant, warmup_epochs: 0}"),
]


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(VARIANTS, 2)))
def test_no_difference_is_the_same_fingerprint(a: tuple[str, ...], b: tuple[str, ...]) -> None:
    one, two = load_recipe(a[0], a[1:]), load_recipe(b[0], b[1:])
    found = differences(one.canonical(), two.canonical())
    assert (not found) == (one.fingerprint == two.fingerprint)
    # Read the other way round it is as much, with the sides changed.
    other = differences(two.canonical(), one.canonical())
    assert (not found) == (not other)
    for item in found:
        assert json.dumps(item.a) != json.dumps(item.b)


def test_find_by_name_and_by_file(tmp_path: Path) -> None:
    given = find("laptop")
    assert (given.name, given.dataset) == ("laptop", "cifar10")
    assert given.fingerprint == load_recipe("laptop").fingerprint
    assert given.slug == f"laptop-{given.fingerprint[:8]}"
    file = tmp_path / "mine.yaml"
    file.write_text("extends: laptop\nepochs: 6\n")
    assert find(str(file)).fingerprint == find("laptop", ["epochs=6"]).fingerprint
    assert find(str(file)).name == "mine"


def test_changes_beside_the_name(tmp_path: Path) -> None:
    assert find("laptop,epochs=6,optimizer.lr=0.05") == find("laptop", ["epochs=6", "optimizer.lr=0.05"])
    schedule = "schedule={name: constant, warmup_epochs: 0}"
    augment = "augment.train=[{HorizontalFlip: {p: 0.5}}, {ToGray: {}}]"
    assert find(f"laptop,{schedule},{augment}") == find("laptop", [schedule, augment])
    file = tmp_path / "a,b=c.yaml"
    file.write_text("extends: laptop\n")
    assert find(str(file)).name == "a,b=c"
    with pytest.raises(RecipeError, match="unknown key 'epoch'; did you mean set epochs=3"):
        find("laptop,epoch=3")
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'laptpo'.*did you mean 'laptop'"):
        find("laptpo,epochs=3")


def test_find_in_stored_runs() -> None:
    folder = next(RESULTS.rglob("seed0"))
    stored = json.loads((folder / "result.json").read_text())["recipe"]
    for place in (folder, folder.parent, folder.parent.parent, folder / "result.json"):
        given = find(str(place))
        assert (given.name, given.content, given.fingerprint) == (
            stored["name"],
            stored["content"],
            stored["fingerprint"],
        )
    with pytest.raises(RecipeError, match="set changes a recipe, not what a run has stored"):
        find(str(folder), ["epochs=3"])


def test_a_run_says_the_precision_it_ran_in() -> None:
    given, run = find("laptop"), find(str(RESULTS / "cifar10-jpeg" / "laptop-5c17bb6d"))
    assert differences(given.content, run.content) == [Difference("precision", "auto", run.content["precision"])]
    assert given.resolved()[run.content["precision"]] == run.slug
    assert run.resolved() == {}
    assert "precision auto is resolved on each machine before a run" in as_differences(given, run, "text")


def edited(folder: Path, **changes: object) -> Path:
    """A stored run with other values in its recipe."""
    data = json.loads(next(RESULTS.rglob("laptop-*/*/*/result.json")).read_text())
    data["recipe"] |= changes
    path = folder / "result.json"
    path.parent.mkdir()
    path.write_text(json.dumps(data))
    return path


def test_runs_that_name_no_one_recipe(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"no result\.json under .*; a run has one as soon as it is done"):
        find(str(tmp_path))
    edited(tmp_path / "a")
    other = load_recipe("fast")
    edited(tmp_path / "b", name="fast", content=other.canonical(), fingerprint=other.fingerprint)
    with pytest.raises(ResultError, match=rf"runs of 2 recipes; give the folder of one: {other.slug}, laptop-"):
        find(str(tmp_path))
    assert find(str(tmp_path / "b")).slug == other.slug


def test_an_edited_run_is_noticed(tmp_path: Path) -> None:
    path = edited(tmp_path / "a", content=load_recipe("fast").canonical())
    with pytest.raises(ResultError, match="recipe: the fingerprint is not that of the content"):
        find(str(path))


def test_a_folder_does_not_hide_a_built_in_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find("smoke").fingerprint == load_recipe("smoke").fingerprint
    with pytest.raises(ResultError, match=r"no result\.json"):
        find("./smoke")


@pytest.mark.parametrize(
    "text", [*recipe_names(), "standard,ema.decay=0.999,split.train=100", "laptop,augment.eval=[]"]
)
def test_what_is_shown_is_the_same_recipe_again(tmp_path: Path, text: str) -> None:
    given = find(text)
    file = tmp_path / "again.yaml"
    file.write_text(as_yaml(given), encoding="utf-8")
    assert find(str(file)).content == given.content
    assert find(str(file)).description == given.description
    shown = file.read_text(encoding="utf-8")
    assert f"# name: {given.name}\n" in shown
    assert f"# fingerprint: {given.fingerprint} " in shown
    assert set(yaml.safe_load(shown)) == {"description", "dataset", *given.content} - {"harness"}
    assert ("† selection: test" in shown) == (given.content["selection"]["split"] == "test")


def test_what_no_longer_is_the_same_recipe_says_so() -> None:
    """One whose key is gone, and one that this zoo evaluates otherwise."""
    runs = RESULTS.parent
    for folder, old in (
        ("results/cifar10-jpeg/fast-d92d3e79", True),
        ("studies/fast/cifar10-jpeg/base-001bb5c6", True),
        ("results/cifar10-jpeg/fast-0e7aaea6", False),
    ):
        assert ("made by an older zoo" in as_yaml(find(str(runs / folder)))) is old


def test_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    a, b = find("eva6s8"), find("standard")
    text, markdown, data = (as_differences(a, b, style) for style in ("text", "markdown", "json"))
    assert text.splitlines()[0].split() == ["field", a.slug, "†", b.slug]
    assert markdown.splitlines()[0].startswith("| field ")
    for table in (text, markdown):
        assert "† selection: test." in table
        line = next(line for line in table.splitlines() if "drop_last" in line)
        assert line.replace("|", " ").split() == ["drop_last", "false", "true"]
        assert any(line.replace("|", " ").split()[-1] == "-" for line in table.splitlines() if "Rotate.limit" in line)
    told = json.loads(data)
    assert told["a"] == {"name": "eva6s8", "fingerprint": a.fingerprint, "selection": "test"}
    assert told["same_fingerprint"] is False
    assert {"key": "drop_last", "a": False, "b": True} in told["differences"]
    assert len(told["differences"]) == len(differences(a.content, b.content))


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_nothing_differs(style: str) -> None:
    given = find("laptop")
    assert as_differences(given, find("laptop,epochs=12"), style) == (
        f"same fingerprint {given.fingerprint[:8]}: nothing that can change accuracy differs\n"
    )
    told = as_differences(find("eva6s8"), find("eva6s8"), style).splitlines()
    assert told[0].startswith("same fingerprint 80e5fff1 †:")
    assert told[1].startswith("† selection: test.")
    assert json.loads(as_differences(given, given, "json"))["same_fingerprint"] is True
