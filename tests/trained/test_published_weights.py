"""Weights that are published: each norm of the committed table, checked against what its run stored."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_files import find_run

import zoo
from zoo.data import datasets
from zoo.errors import DataError, ResultError, UnknownNameError
from zoo.results import published
from zoo.results.folder import COMMITTED, RunFolder, load_result
from zoo.results.predictions import load_predictions

TABLE = COMMITTED / published.WEIGHTS
DATA = Path(os.environ.get("ZOO_DATA") or Path(__file__).parents[3] / "shared" / "data")
NAMES = sorted({path.parents[1].name for path in TABLE.glob("*/seed*/model.safetensors")})
needs_images = pytest.mark.skipif(not (DATA / "cifar10-jpeg").exists(), reason="needs the images of cifar10-jpeg")
FEW = 64


def test_each_norm_of_the_table_has_weights_and_together_they_stay_small() -> None:
    norms = {path.name for path in TABLE.iterdir()}
    assert set(NAMES) == norms >= {"resnet20_bn", "resnet20_ln", "resnet20_none"}
    size = sum((published.published_run(name) / "model.safetensors").stat().st_size for name in NAMES)
    assert size < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_held_out_images_choose_the_seed_and_not_the_test_set(name: str, caplog) -> None:
    having = [load_result(path.with_name("result.json")) for path in TABLE.glob(f"{name}/seed*/model.safetensors")]
    best = max(having, key=lambda result: result.holdout.accuracy)
    chosen = load_result(RunFolder(published.located(f"published:{name}")).result)
    assert chosen == best
    assert f"published:{name}: seed {best.seed}, recipe laptop-9c06139e on cifar10-jpeg" in caplog.text
    stored = [load_result(path) for path in TABLE.glob(f"{name}/seed*/result.json")]
    assert best.holdout.accuracy == max(result.holdout.accuracy for result in stored), (
        "no better seed lacks its weights"
    )


def check(name: str, count: int) -> int:
    """The first `count` test images, and how many of them have the class that is stored."""
    test = datasets.load("cifar10-jpeg", str(DATA)).test
    model = zoo.load_model(f"published:{name}")
    logits = model(np.asarray(test.images[:count]))
    stored = load_predictions(model.run.folder.predictions)
    assert np.allclose(logits.softmax(1).amax(1).numpy(), stored["confidence"][:count], atol=1e-3)
    return int((logits.argmax(1).numpy() == stored["predicted"][:count]).sum())


@needs_images
@pytest.mark.parametrize("name", ["resnet20_bn", "resnet20_ln2d"])  # the second is of a builder of old
def test_they_give_the_answers_that_are_stored(name: str) -> None:
    assert check(name, FEW) == FEW


@needs_images
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_gives_the_stored_answer_to_every_test_image(name: str) -> None:
    assert check(name, 10_000) >= 9_999


def test_commands_take_the_name_and_write_nothing_beside_the_weights(inline_cli, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), "navy").save(tmp_path / "sea.png")
    output = inline_cli.ok("predict", "published:resnet20_bn", "sea.png")
    assert "sea.png" in output.stdout
    assert "published:resnet20_bn: seed 2," in output.stderr
    for words in (("export", "published:resnet20_bn", "--to", "safetensors"), ("explain", "published:resnet20_bn")):
        output = inline_cli(*words, ZOO_DATA=str(DATA))
        assert output.returncode == 2
        assert "; name a folder with --out" in output.stderr or "cifar10-jpeg" in output.stderr
    assert not [path for path in TABLE.rglob("*") if path.name in ("export", "explain")]


def test_a_name_without_weights_and_an_installed_zoo_say_what_to_do(inline_cli, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown published model 'resnet20_bnn'.*did you mean 'resnet20_bn'"):
        zoo.load_model("published:resnet20_bnn")
    monkeypatch.setattr(published, "COMMITTED", tmp_path / "nothing")
    output = inline_cli("predict", "published:resnet20_bn", "x.png")
    assert (output.returncode, len(output.lines)) == (2, 1)
    assert "in its repository, in benchmarks/results/cifar10-jpeg/laptop-9c06139e" in output.stderr


def test_a_run_of_the_user_is_loaded_with_its_preprocessing(inline_cli, tiny, tmp_path: Path) -> None:
    inline_cli.ok("bench", "resnet20_bn", *tiny, "--set", "mirror_evaluation=true")
    model = zoo.load_model(find_run(tmp_path, "resnet20_bn"))
    images = np.asarray(datasets.load("shapes10").test.images)
    stored = load_predictions(model.run.folder.predictions)
    logits = model(images)
    assert np.array_equal(logits.argmax(1).numpy(), stored["predicted"])
    assert np.allclose(logits.softmax(1).amax(1).numpy(), stored["confidence"], atol=1e-6)
    assert model.classes == model.result.dataset.classes
    assert model.preprocess(images[:3]).shape == (3, 3, 16, 16)
    assert not model.module.training
    assert model.module(model.preprocess(images[0])).shape == (1, 10)
    larger = Image.fromarray(images[0]).resize((100, 70))
    assert model(larger).shape == (1, 10)
    assert np.array_equal(model([Image.fromarray(image) for image in images[:5]]), model(images[:5]))
    assert repr(model).startswith("<resnet20_bn seed 0, recipe smoke-")
    for wrong in (np.zeros((3, 32, 32)), "picture.png", [], 3, np.zeros((2, 2, 2, 2, 3), np.uint8)):
        with pytest.raises(DataError, match="no images"):
            model(wrong)
    inline_cli.ok("bench", "resnet20_bn", *tiny, "--seed", "1")
    with pytest.raises(ResultError, match="holds 2 runs"):
        zoo.load_model(tmp_path / "runs")
