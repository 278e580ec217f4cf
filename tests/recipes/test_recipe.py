"""Recipes: what each built-in one says, what the fingerprint covers, and overrides with their mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from zoo.cli.options import worded
from zoo.data.augment.spec import parse
from zoo.data.loader import Batching, TrainLoader
from zoo.errors import Option, RecipeError, UnknownNameError, sentence
from zoo.recipes.catalogue import RECIPES as FOLDER
from zoo.recipes.catalogue import recipe_names as names
from zoo.recipes.hints import USUAL, keys_of
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.utils.distributed import SINGLE_PROCESS

# A change of one of these makes every stored result of that recipe another experiment's: it must be deliberate, and
# CHANGELOG.md must say so. `laptop`, `fast` and `smoke` are not pinned while they are still being tuned.
FINGERPRINTS = {
    "standard": "4a1965856fa520f3f93475f5b9d29cbd85b1e4504ba696ff5f2cd9231a625351",
    "eva6s8": "80e5fff15dd06cef28daec59a25d843932f9f4e69253ab0c30d01ba05d08b47b",
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recipe file and gives its path."""

    def writer(text: str, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return writer


def refusal(recipe: str, *overrides: str) -> str:
    """The one line that loading fails with, as the command line words it."""
    with pytest.raises((RecipeError, UnknownNameError)) as caught:
        load_recipe(recipe, overrides)
    line = sentence(caught.value.parts, worded)
    assert "\n" not in line
    return line


def suggested(recipe: str, override: str) -> list[str]:
    """The settings that the message about one names after "did you mean"."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, [override])
    parts = caught.value.parts
    after = next((place for place, part in enumerate(parts) if "did you mean" in str(part)), len(parts))
    return [part.value or "" for part in parts[after:] if isinstance(part, Option)]


# Built in


@pytest.mark.parametrize("name", ["standard", "eva6s8", "fast", "laptop", "smoke"])
def test_built_in_recipes_load_and_their_transforms_exist(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.name, recipe.slug) == (name, f"{name}-{recipe.fingerprint[:8]}")
    assert recipe.description
    for split in (recipe.augment.train, recipe.augment.eval):
        assert parse(split, name)[-1].name == "Normalize"


def test_there_are_these() -> None:
    assert names() == ["eva6s8", "fast", "laptop", "smoke", "standard"]


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_fingerprints_are_pinned(name: str) -> None:
    assert load_recipe(name).fingerprint == FINGERPRINTS[name]


def test_standard_says_what_the_design_says() -> None:
    recipe = load_recipe("standard")
    assert (recipe.epochs, recipe.batch_size, recipe.loss.label_smoothing > 0) == (40, 512, True)
    assert (recipe.optimizer.name, recipe.optimizer.nesterov, recipe.schedule.name) == ("sgd", True, "cosine")
    assert recipe.schedule.warmup_epochs > 0
    assert recipe.split.holdout == 5000
    assert (recipe.selection.split, recipe.selection.rule) == ("holdout", "best")
    names = [name for item in recipe.augment.train for name in item]
    assert names == ["PadIfNeeded", "RandomCrop", "HorizontalFlip", "Cutout", "Normalize"]
    assert recipe.augment.train[0]["PadIfNeeded"]["min_height"] == 32 + 2 * 4


def test_only_eva6s8_selects_on_the_test_set() -> None:
    assert [name for name in names() if load_recipe(name).selection.split == "test"] == ["eva6s8"]


def test_eva6s8_is_what_the_reference_ran() -> None:
    recipe = load_recipe("eva6s8")
    said = recipe.model_dump(exclude={"name", "description"})
    assert said == {
        "dataset": "cifar10",
        "split": {"holdout": 0, "seed": 0, "train": None},
        "augment": {
            "train": [
                {"RandomCrop": {"height": 28, "width": 28}},
                {"PadIfNeeded": {"min_height": 32, "min_width": 32, "border_mode": "reflect_101"}},
                {
                    "Cutout": {
                        "num_holes": 1,
                        "max_h_size": 16,
                        "max_w_size": 16,
                        "fill_value": [0.491, 0.482, 0.447],
                        "p": 1.0,
                    }
                },
                {"Rotate": {"limit": 5, "border_mode": "reflect_101", "p": 1.0}},
                {
                    "Normalize": {
                        "mean": [0.49139968, 0.48215841, 0.44653091],
                        "std": [0.24703223, 0.24348513, 0.26158784],
                    }
                },
            ],
            "eval": [
                {
                    "Normalize": {
                        "mean": [0.49421428, 0.48513139, 0.45040909],
                        "std": [0.24665252, 0.24289226, 0.26159238],
                    }
                }
            ],
        },
        "epochs": 40,
        "batch_size": 512,
        "drop_last": False,
        "optimizer": {
            "name": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "decay_norm_and_bias": said["optimizer"]["decay_norm_and_bias"],  # without decay it means nothing
        },
        "schedule": {"name": "plateau", "warmup_epochs": 0.0, "factor": 0.2, "patience": 2, "threshold": 1e-4},
        "loss": {"label_smoothing": 0.0},
        "precision": "fp32",
        "selection": {"split": "test", "rule": "best", "metric": "accuracy"},
        "ema": None,
        "lookahead": None,
        "mirror_evaluation": None,
        "shifted_evaluation": None,
        "image_size": None,
        "other_evaluation_size": None,
        "tuned": None,
        "clip_grad_norm": None,
    }


def test_eva6s8_has_98_batches_of_cifar10() -> None:
    recipe = load_recipe("eva6s8")
    images = np.broadcast_to(np.uint8(0), (50_000, 32, 32, 3))  # takes no memory
    loader = TrainLoader(
        images,
        np.zeros(50_000, np.int64),
        recipe.augment.train,
        Batching(recipe.batch_size, 1, SINGLE_PROCESS, recipe.drop_last),
        executor="albumentations",
    )
    assert len(loader) == 98


# Fingerprint


@pytest.mark.parametrize(
    "override",
    [
        "split.holdout=4000",
        "split.seed=1",
        "split.train=1000",
        "augment.train=[]",
        "augment.eval=[]",
        "epochs=41",
        "batch_size=256",
        "drop_last=false",
        "optimizer.lr=0.21",
        "optimizer.momentum=0.8",
        "optimizer.nesterov=false",
        "optimizer.weight_decay=0",
        "optimizer.decay_norm_and_bias=true",
        "optimizer={name: adamw, lr: 0.2, betas: [0.9, 0.999], weight_decay: 0, decay_norm_and_bias: false}",
        "schedule.warmup_epochs=5",
        "schedule.final_factor=0.1",
        "schedule={name: constant, warmup_epochs: 4}",
        "schedule={name: step, warmup_epochs: 4, milestones: [10], factor: 0.1}",
        "loss.label_smoothing=0",
        "precision=fp32",
        "selection.split=test",
        "selection.rule=last",
        "selection.metric=loss",
        "ema.decay=0.99",
        "clip_grad_norm=1",
        "mirror_evaluation=true",
        "shifted_evaluation=1",
        "image_size=64",
        "other_evaluation_size=true",
        "augment.eval=[{Normalize: {from: train}}]",
        "optimizer={name: muon, lr: 0.2, momentum: 0.9, nesterov: true, adamw_lr_scale: 0.1, betas: [0.9, 0.95], "
        "weight_decay: 5.0e-4, decay_norm_and_bias: false}",
    ],
)
def test_what_changes_the_fingerprint(override: str) -> None:
    assert load_recipe("standard", [override]).fingerprint != load_recipe("standard").fingerprint


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every plain value in nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [path] if items is None else [leaf for key, item in items for leaf in leaves(item, (*path, key))]


def test_every_argument_of_every_transform_is_in_the_fingerprint(write: Write) -> None:
    content = yaml.safe_load((FOLDER / "eva6s8.yaml").read_text())
    prints = {load_recipe("eva6s8").fingerprint}
    paths = leaves(content["augment"])
    for path in paths:
        changed = yaml.safe_load((FOLDER / "eva6s8.yaml").read_text())
        target = changed["augment"]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = "x" if isinstance(target[path[-1]], str) else target[path[-1]] + 0.25
        prints.add(load_recipe(str(write(yaml.safe_dump(changed)))).fingerprint)
    changed = dict(content, augment=dict(content["augment"], train=content["augment"]["train"][::-1]))
    prints.add(load_recipe(str(write(yaml.safe_dump(changed)))).fingerprint)
    assert len(prints) == 1 + len(paths) + 1 == 1 + 27 + 1


def test_what_does_not_change_the_fingerprint(write: Write) -> None:
    standard = load_recipe("standard")
    path = write(
        "description: other\nextends: standard\ndataset: shapes10\nepochs: 40.0\n"
        "optimizer: {momentum: 9.0e-1, lr: 0.20}\n"
        "ema: null\naugment:\n  eval:\n    - Normalize: {std: [0.24703223, 0.24348513, 0.26158784], "
        "mean: [0.49139968, 0.48215841, 0.44653091]}\n"
    )
    assert load_recipe(str(path)).fingerprint == standard.fingerprint
    assert load_recipe(str(path)).slug == f"mine-{standard.fingerprint[:8]}"


def test_5_and_5_0_are_one_number_in_a_transform_too(write: Write) -> None:
    text = (FOLDER / "eva6s8.yaml").read_text()
    assert text.count("limit: 5,") == 1
    path = write(text.replace("limit: 5,", "limit: 5.0,"))
    assert load_recipe(str(path)).fingerprint == load_recipe("eva6s8").fingerprint


def test_null_argument_is_not_an_argument_left_out() -> None:
    """albumentations' defaults are not all None, so null is a value of its own."""
    given, left_out = (
        load_recipe("standard", [f"augment.train=[{{Rotate: {arguments}}}]"]) for arguments in ("{fill: null}", "{}")
    )
    assert given.fingerprint != left_out.fingerprint


def test_auto_precision_is_settled_before_the_fingerprint_counts() -> None:
    auto = load_recipe("standard")
    assert auto.precision == "auto"
    settled = auto.with_precision("bf16")
    assert settled.precision == settled.canonical()["precision"] == "bf16"
    assert settled.fingerprint == load_recipe("standard", ["precision=bf16"]).fingerprint
    assert len({auto.fingerprint, settled.fingerprint, auto.with_precision("fp32").fingerprint}) == 3
    assert load_recipe("eva6s8").with_precision("bf16") == load_recipe("eva6s8")  # asked for fp32, gets fp32


def test_frozen() -> None:
    recipe = load_recipe("standard")
    with pytest.raises(ValidationError):
        recipe.epochs = 1
    with pytest.raises(ValidationError):
        recipe.optimizer.lr = 1.0


# Files


def test_extends_a_built_in_recipe_and_a_file_beside(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write("extends: standard\ndescription: base\nepochs: 7\noptimizer: {lr: 0.3}\n", "sub/base.yaml")
    top = write("extends: base.yaml\ndescription: top\nloss: {label_smoothing: 0}\n", "sub/top.yaml")
    monkeypatch.chdir(base.parents[1])  # the file is found beside the one that names it, not in the working folder
    recipe = load_recipe("sub/top.yaml")
    assert (recipe.name, recipe.description, recipe.epochs, recipe.optimizer.lr) == ("top", "top", 7, 0.3)
    assert (recipe.loss.label_smoothing, recipe.optimizer.momentum) == (0, 0.9)
    assert recipe == load_recipe(str(top))


def test_section_of_another_kind_is_replaced_as_a_whole(write: Write) -> None:
    text = "extends: standard\ndescription: d\nschedule: {name: step, warmup_epochs: 1, milestones: [3], factor: 0.1}\n"
    assert load_recipe(str(write(text))).schedule.model_dump() == {
        "name": "step",
        "warmup_epochs": 1.0,
        "milestones": [3.0],
        "factor": 0.1,
    }
    # And where the new kind is not whole, nothing of the old one fills the gap: both have warmup_epochs.
    told = refusal(str(write(text.replace("warmup_epochs: 1, ", ""))))
    assert told.endswith("mine.yaml: schedule.warmup_epochs is missing")


@pytest.mark.parametrize(
    ("a", "b"),
    [("a.yaml", ""), ("b.yaml", "a.yaml"), ("./b.yaml", "a.yaml"), ("../{0}/a.yaml", "")],
    ids=["itself", "two", "dot", "other spelling"],
)
def test_circle(write: Write, tmp_path: Path, a: str, b: str) -> None:
    path = write(f"extends: {a.format(tmp_path.name)}\n", "a.yaml")
    write(f"extends: {b.format(tmp_path.name)}\n", "b.yaml")
    assert "'extends' goes round in a circle" in refusal(str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: standart\n", "unknown recipe 'standart' (looked in {folder}); did you mean 'standard'?"),
        ("extends: nowhere.yaml\n", "recipe file {here}/nowhere.yaml does not exist; recipes by name: eva6s8, "),
        ("name: x\n", "{here}/mine.yaml: a recipe's name is its file's name; remove the key 'name'"),
        (
            "extends: standard\nepochs: 1\nepochs: 2\n",
            "{here}/mine.yaml:3: key 'epochs' is given twice, first on line 2",
        ),
        ("extends: standard\nepoch: 1\n", "{here}/mine.yaml: unknown key 'epoch'; did you mean 'epochs'?"),
        (
            "extends: standard\noptimizer: {lrr: 1}\n",
            "{here}/mine.yaml: unknown key 'optimizer.lrr'; did you mean 'lr'?",
        ),
        ("extends: standard\noptimizer: {lr: -1}\n", "{here}/mine.yaml: optimizer.lr: input should be greater than 0"),
        ("extends: standard\nepochs: many\n", "{here}/mine.yaml: epochs: input should be a valid integer, "),
        ("extends: standard\nloss:\n", "{here}/mine.yaml: loss: "),
        (
            "extends: standard\naugment: {train: [{A: {}, B: {}}]}\n",
            "{here}/mine.yaml: augment: train: each item is one",
        ),
        (
            "extends: standard\naugment:\n  train:\n    - RandomCrop: {height: 32, height: 28, width: 28}\n",
            "{here}/mine.yaml:4: key 'height' is given twice",
        ),
        (
            "extends: standard\nsplit: {holdout: 0}\n",
            "{here}/mine.yaml: selection.split is holdout but split.holdout is 0",
        ),
        ("extends: standard\nepochs: 3\n", "{here}/mine.yaml: schedule.warmup_epochs is more than the 3 epochs"),
        ("extends: laptop\nepochs: 2\n", "{here}/mine.yaml: schedule.peak_epoch must come before the last of the 2"),
        (
            "extends: standard\noptimizer: {momentum: 0}\n",
            "{here}/mine.yaml: optimizer.nesterov needs momentum above 0",
        ),
        (
            "extends: eva6s8\nprecision: fp8\n",
            "{here}/mine.yaml: precision: input should be 'auto', 'fp32', 'bf16' or ",
        ),
        ("epochs: 1\n", "{here}/mine.yaml: description is missing"),
        ("- 1\n", "{here}/mine.yaml:1: expected a mapping of sections, found a list"),
    ],
)
def test_mistakes_in_a_file(write: Write, text: str, told: str) -> None:
    path = write(text)
    assert refusal(str(path)).startswith(told.format(here=path.parent, folder=FOLDER))


def test_unknown_recipe() -> None:
    assert refusal("smok") == f"unknown recipe 'smok' (looked in {FOLDER}); did you mean 'smoke'?"
    assert refusal("nowhere/x.yaml").startswith("recipe file nowhere/x.yaml does not exist; recipes by name: eva6s8, ")


# Overrides


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("epochs=7", lambda recipe: recipe.epochs == 7),
        ("optimizer.lr=0.05", lambda recipe: recipe.optimizer.lr == 0.05),
        ("optimizer.lr=1e-4", lambda recipe: recipe.optimizer.lr == 1e-4),
        ("optimizer.weight_decay=6E-4", lambda recipe: recipe.optimizer.weight_decay == 6e-4),
        ("drop_last=false", lambda recipe: recipe.drop_last is False),
        ("dataset=shapes10", lambda recipe: recipe.dataset == "shapes10"),
        ("ema.decay=0.9", lambda recipe: recipe.ema.decay == 0.9),
        ("ema={decay: 0.9}", lambda recipe: recipe.ema.decay == 0.9),
        ("split.train=1000", lambda recipe: recipe.split.train == 1000),
        ("clip_grad_norm=2", lambda recipe: recipe.clip_grad_norm == 2.0),
        (
            "augment.train=[HorizontalFlip: {p: 1}]",
            lambda recipe: recipe.augment.train == [{"HorizontalFlip": {"p": 1}}],
        ),
        ("schedule={name: constant, warmup_epochs: 0}", lambda recipe: recipe.schedule.name == "constant"),
    ],
)
def test_set(override: str, read: Callable[[Recipe], bool]) -> None:
    assert not read_safely(read, load_recipe("standard"))
    assert read(load_recipe("standard", [override]))


def read_safely(read: Callable[[Recipe], bool], recipe: Recipe) -> bool:
    """False where a section that `read` looks into is off."""
    try:
        return read(recipe)
    except AttributeError:
        return False


def test_later_overrides_win_and_null_switches_off() -> None:
    assert load_recipe("standard", ["epochs=9", "epochs=8"]).epochs == 8
    fast = load_recipe("fast")
    assert fast.mirror_evaluation
    off = load_recipe("fast", ["mirror_evaluation=null"])
    assert off.mirror_evaluation is None
    assert "mirror_evaluation" not in off.canonical()
    assert off.fingerprint != fast.fingerprint
    assert load_recipe("standard", ["ema.decay=0.5", "ema=null"]) == load_recipe("standard")
    step = "schedule={name: step, warmup_epochs: 0, milestones: [10, 20], factor: 0.1}"
    assert load_recipe("standard", [step, "schedule.milestones=[5]"]).schedule.milestones == [5.0]


def test_one_item_of_a_transform_list() -> None:
    """Lists are replaced as a whole; an index is refused in words."""
    told = refusal("standard", "augment.train.0={HorizontalFlip: {p: 1}}")
    assert told == "--set 'augment.train.0={HorizontalFlip: {p: 1}}': augment.train is not a section; set it as a whole"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("epochs", "--set epochs: expected key=value; did you mean --set epochs=40?"),
        ("rmsprop", "--set rmsprop: expected key=value, as in --set optimizer.lr=0.1"),
        ("=3", "--set =3: expected key=value, as in --set optimizer.lr=0.1"),
        ("epoch=3", "--set epoch=3: unknown key 'epoch'; did you mean --set epochs=3?"),
        ("optimiser.lr=3", "--set optimiser.lr=3: unknown key 'optimiser'; did you mean --set optimizer.lr=3?"),
        (
            "optimizer.lrr=3",
            "{file} with --set optimizer.lrr=3: unknown key 'optimizer.lrr'; did you mean --set optimizer.lr=3?",
        ),
        ("ema.decai=0.9", "{file} with --set ema.decai=0.9: "),
        ("name=x", "--set name=x: unknown key 'name'"),
        ("epochs.x=1", "--set epochs.x=1: epochs is not a section; set it as a whole"),
        ("epochs=1.5", "{file} with --set epochs=1.5: epochs: input should be a valid integer"),
        ("epochs=ten", "{file} with --set epochs=ten: epochs: input should be a valid integer"),
        ("epochs=", "{file} with --set epochs=: epochs: "),
        ("epochs=true", "{file} with --set epochs=true: epochs: "),
        ("optimizer.lr=true", "{file} with --set optimizer.lr=true: optimizer.lr: "),
        ("drop_last=3", "{file} with --set drop_last=3: drop_last: input should be a valid boolean"),
        ("optimizer.lr=.nan", "{file} with --set optimizer.lr=.nan: optimizer.lr: "),
        ("optimizer.lr=.inf", "{file} with --set optimizer.lr=.inf: optimizer.lr: "),
        ("schedule.final_factor=.nan", "{file} with --set schedule.final_factor=.nan: schedule.final_factor: "),
        ("optimizer={lr: 1}", "{file} with --set 'optimizer={lr: 1}': optimizer: "),
        ("optimizer.name=adam", "{file} with --set optimizer.name=adam: optimizer: "),
        ("schedule=cosine", "{file} with --set schedule=cosine: schedule: "),
        ("optimizer.lr=[", "--set 'optimizer.lr=[': not valid YAML: "),
        ("description=2020-13-45", "--set description=2020-13-45: "),
        (
            "epochs=!!python/object/apply:os.system [true]",
            "--set 'epochs=!!python/object/apply:os.system [true]': the tag tag:yaml.org,2002:python/object/apply:",
        ),
    ],
)
def test_mistakes_in_set(override: str, told: str) -> None:
    assert refusal("standard", override).startswith(told.replace("{file}", str(FOLDER / "standard.yaml")))


LEAVES = sorted(
    {
        key.rpartition(".")[2]
        for name in ("standard", "fast", "eva6s8")
        for key in keys_of(load_recipe(name).model_dump())
    }
    - {"split", "augment", "optimizer", "schedule", "loss", "selection", "ema", "lookahead", "tuned"}
)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_key_without_its_section_is_answered_with_a_setting_that_is_taken(leaf: str) -> None:
    """With the user's own value, and, where there is none, with the recipe's or a usual one."""
    for override in (leaf, f"no_section.{leaf}"):
        meant = suggested("standard", override)
        assert meant, override
        for setting in meant:
            assert re.search(rf"\b{leaf}(=|: )", setting)
            load_recipe("standard", [setting])
    for setting in suggested("standard", f"nothing.{leaf}=31"):
        assert re.search(rf"\b{leaf}(=|: )31\b", setting)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("lr=0.1", ["optimizer.lr=0.1"]),
        ("learning_rate=0.1", ["optimizer.lr=0.1"]),
        ("optimizer.lr:0.3", ["optimizer.lr=0.3"]),
        ("weight_decay=0", ["optimizer.weight_decay=0"]),
        ("optim.wd=0", ["optimizer.weight_decay=0"]),
        ("label-smoothing=0.2", ["loss.label_smoothing=0.2"]),
        ("loss.smoothing=0.2", ["loss.label_smoothing=0.2"]),
        ("nesterov", ["optimizer.nesterov=true"]),
        ("drop_last", ["drop_last=true"]),
        ("mirror_evaluation", ["mirror_evaluation=true"]),
        ("batchsize=64", ["batch_size=64"]),
        ("holdout=1000", ["split.holdout=1000"]),
        ("decay=0.99", ["ema.decay=0.99"]),
        ("ema=0.99", ["ema.decay=0.99"]),
        ("adam", [USUAL["adamw"]]),
        ("optimizer=AdamW", [USUAL["adamw"]]),
        ("optimizer.name=muon", [USUAL["muon"]]),
        ("optimizer=lion", [USUAL["sgd"], USUAL["adamw"]]),
        ("scheduler=CosineAnnealingLR", [USUAL["cosine"]]),
        ("one-cycle", [USUAL["one_cycle"]]),
        ("schedule.name=step", [USUAL["step"]]),
        ("betas=[0.9, 0.95]", [USUAL["adamw"].replace("0.999", "0.95")]),
        ("lookahead", [USUAL["lookahead"]]),
    ],
)
def test_what_was_meant_is_named_as_it_is_typed(override: str, meant: list[str]) -> None:
    assert suggested("standard", override) == meant
    for setting in meant:
        load_recipe("standard", [setting])


@pytest.mark.parametrize("recipe", names())
@pytest.mark.parametrize("section", USUAL.values())
def test_every_section_that_is_suggested_is_taken_by_every_recipe(recipe: str, section: str) -> None:
    load_recipe(recipe, [section])


@pytest.mark.parametrize(
    ("overrides", "causes"),
    [
        (["optimizer.lr=-1", "epochs=3"], ["optimizer.lr=-1"]),
        (["epochs=3", "optimizer.lr=-1", "batch_size=8"], ["optimizer.lr=-1"]),
        (["epochs=3", "batch_size=8"], ["epochs=3"]),  # standard warms up for four epochs
        (["epochs=9", "epochs=3", "batch_size=8"], ["epochs=3"]),
        (["split.holdout=0", "loss.label_smoothing=0"], ["split.holdout=0"]),
        (["ema={decay: 0.9}", "epochs=8", "lookahead={every: 5, decay: 0.9, power: 1}"],
         ["ema={decay: 0.9}", "lookahead={every: 5, decay: 0.9, power: 1}"]),
    ],
)  # fmt: skip
def test_the_override_that_caused_a_mistake_is_named(overrides: list[str], causes: list[str]) -> None:
    """Not the last one."""
    with pytest.raises(RecipeError) as caught:
        load_recipe("standard", overrides)
    named = [part.value for part in caught.value.parts if isinstance(part, Option)]
    assert named == causes


def test_a_mistake_of_the_file_is_not_an_overrides(write: Write) -> None:
    path = write("extends: standard\nepochs: 0\n")
    with pytest.raises(RecipeError, match=rf"^{re.escape(str(path))}: epochs: "):
        load_recipe(str(path), ["optimizer.lr=0.1"])


@pytest.mark.parametrize("value", [".nan", ".inf", "2020-01-01"])
def test_what_has_no_fingerprint_is_refused_when_it_is_read(value: str) -> None:
    assert "augment" in refusal("standard", f"augment.train=[Rotate: {{limit: {value}}}]")
