"""``zoo predict`` on real runs, tiny ones: the answers of their own test, pictures of any kind, and mistakes."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import find_run, save_edited, snapshot

from zoo.data import datasets
from zoo.results.predictions import load_predictions

SIDE, COUNT = 24, 30  # of the image folder
PLAIN = "[{Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}]"


def write_data(root: Path) -> None:
    """A folder of two classes, whose name does not tell the size of its images."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, name in enumerate(("dark", "light")):
            folder = root / "blots" / split / name
            folder.mkdir(parents=True)
            for number in range(40 if split == "train" else COUNT // 2):
                small = rng.integers(0, 200, (4, 4, 3), dtype=np.uint8) + np.uint8(55 * label)
                image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                image.save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def benched(module_inline, tiny) -> SimpleNamespace:
    """A run that resizes and evaluates with mirrored and shifted images, and one of plain images in a folder."""
    folder = module_inline.folder
    write_data(folder / "data")
    module_inline.ok("bench", "resnet20_bn", *tiny, "--set", "mirror_evaluation=true", "--set", "shifted_evaluation=1")
    changes = ("split.train=32", "split.holdout=16", f"augment.eval={PLAIN}", f"augment.train={PLAIN}")
    data = ("--dataset", "blots", "--data-dir", "data")
    module_inline.ok("bench", "resnet20_ln", *tiny, *(word for change in changes for word in ("--set", change)), *data)
    pictures = folder / "pictures"
    write_test_images("shapes10", pictures)
    return SimpleNamespace(
        folder=folder, pictures=pictures, shapes=find_run(folder, "resnet20_bn"), blots=find_run(folder, "resnet20_ln")
    )


def write_test_images(name: str, folder: Path, data_dir: str | None = None) -> None:
    """All test images of a data set as PNG files, named in their order."""
    folder.mkdir()
    for number, image in enumerate(datasets.load(name, data_dir).test.images):
        Image.fromarray(np.asarray(image)).save(folder / f"{number:05d}.png")


def table(text: str) -> list[dict[str, str]]:
    """The rows of the CSV."""
    return list(csv.DictReader(io.StringIO(text)))


def check_as_tested(rows: list[dict[str, str]], run: Path) -> None:
    """Every picture has the class and the confidence that the run's own test gave it."""
    kept = load_predictions(run / "predictions.npz")
    classes = json.loads((run / "result.json").read_text())["dataset"]["classes"]
    assert [int(row["label"]) for row in rows] == kept["predicted"].tolist()
    assert [row["class"] for row in rows] == [classes[label] for label in kept["predicted"]]
    assert np.allclose([float(row["probability"]) for row in rows], kept["confidence"], atol=1e-6)
    assert {row["resized_from"] for row in rows} == {""}


def test_test_images_get_the_answers_of_the_test(zoo, benched) -> None:
    before = snapshot(benched.folder / "runs")
    output = zoo("predict", benched.shapes, benched.pictures, "--top", "1", "--format", "csv")
    assert output.stderr == ""
    rows = table(output.stdout)
    assert [row["file"] for row in rows] == [str(path) for path in sorted(benched.pictures.iterdir())]
    assert len(rows) == 1000
    check_as_tested(rows, benched.shapes)
    assert snapshot(benched.folder / "runs") == before


def test_the_size_of_the_images_is_found_from_the_arithmetic(zoo, benched) -> None:
    rows = table(zoo("predict", benched.blots, "data/blots/test", "--top", "1", "--format", "csv").stdout)
    assert len(rows) == COUNT
    random.Random(0).shuffle(in_order := list(rows))  # the files are in order of name, the dataset's rows are not
    check_as_tested(in_order, benched.blots)
    said = zoo("predict", benched.blots, "data/blots/test", "--top", "1", "--format", "csv", "--size", "24x24").stdout
    assert table(said) == rows
    wrong = zoo("predict", benched.blots, "data/blots/test", "--size", "32x32", code=2)
    assert "these images" in wrong.stderr
    assert "multiply-accumulates" in wrong.stderr


def test_any_size_and_mode(zoo, benched, tmp_path: Path) -> None:
    """The same picture kept in other ways is the same picture."""
    source = Image.open(benched.pictures / "00007.png")
    grey = source.convert("L")
    rgba = source.convert("RGBA")
    rgba.putalpha(grey)
    turned = source.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    wide = Image.new("RGB", (96, 32), "red")
    wide.paste(source, (32, 0))
    for name, image, options in (
        ("a-rgb.png", source, {}), ("a-rgba.png", rgba, {}),
        ("a-turned.png", turned, {"exif": exif}), ("a-wide.png", wide, {}),
        ("b-grey.png", grey, {}), ("b-grey-rgb.bmp", grey.convert("RGB"), {}),
        ("b-sixteen.png", Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), {}),
        ("c-large.png", source.resize((320, 320), Image.Resampling.NEAREST), {}),
        ("c-one.png", source.resize((1, 1)), {}), ("c-cmyk.jpg", source.convert("CMYK"), {}),
        ("c-palette.webp", source.convert("P").convert("RGB"), {}),
    ):  # fmt: skip
        image.save(tmp_path / name, **options)
    told = json.loads(zoo("predict", benched.shapes, tmp_path, "--top", "99", "--format", "json").stdout)
    answers = {Path(answer["file"]).name: answer for answer in told}
    assert len(answers) == 11
    for answer in told:
        shown = answer["predictions"]
        assert len({item["class"] for item in shown}) == 10
        assert sum(item["probability"] for item in shown) == pytest.approx(1, abs=1e-5)
        assert shown == sorted(shown, key=lambda item: -item["probability"])
    for group in ("a", "b"):
        first, *others = (answer["predictions"] for name, answer in answers.items() if name[0] == group)
        assert others
        for other in others:
            assert [item["class"] for item in other] == [item["class"] for item in first]
    assert answers["a-rgb.png"]["predictions"] != answers["b-grey.png"]["predictions"]
    resized = {name: answer["resized_from"] for name, answer in answers.items() if answer["resized_from"]}
    assert resized == {"a-wide.png": "96x32", "c-large.png": "320x320", "c-one.png": "1x1"}
    text = zoo("predict", benched.shapes, tmp_path / "c-large.png", tmp_path / "a-rgb.png").stdout
    first, second = (" ".join(part.split()) for part in text.split(str(tmp_path / "a-rgb.png")))
    assert first.endswith("resized from 320x320")
    assert "resized" not in second
    assert first.count(" %") == 3


def check(output: Any, *parts: str) -> None:
    assert output.stdout == ""
    (line,) = output.lines
    for part in parts:
        assert part in line


def test_mistakes(zoo, benched, tmp_path: Path) -> None:
    good, run = benched.pictures / "00000.png", benched.shapes
    (tmp_path / "words.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    check(zoo("predict", run, good, tmp_path / "words.png", code=2), f"{tmp_path / 'words.png'}: is no image")
    check(zoo("predict", run, tmp_path / "half.png", code=2), f"{tmp_path / 'half.png'}: damaged image")
    check(zoo("predict", run, tmp_path / "empty", code=2), f"{tmp_path / 'empty'}: no images below it (.bmp, ")
    check(zoo("predict", run, tmp_path / "nothing.png", code=2), f"{tmp_path / 'nothing.png'}: no such file")
    check(zoo("predict", run, good, "--size", "32", code=2), "'32' is no size in pixels", "for example 32x32")
    check(zoo("predict", "runs", good, code=2), "runs holds 2 runs and one is wanted; name one, such as runs/")
    check(zoo("predict", run, code=2), "IMAGE")


def test_a_size_that_cannot_be_told(zoo, benched, tmp_path: Path) -> None:
    """A crop makes all sizes alike to the model."""
    result = json.loads((benched.blots / "result.json").read_text())
    steps = result["recipe"]["content"]["augment"]["eval"]
    result["recipe"]["content"]["augment"]["eval"] = [{"CenterCrop": {"height": 24, "width": 24}}, *steps]
    save_edited(tmp_path / "result.json", result)
    (tmp_path / "model.safetensors").write_bytes((benched.blots / "model.safetensors").read_bytes())
    check(zoo("predict", tmp_path, "data/blots/test", code=2), "cannot be derived", "give it with --size WIDTHxHEIGHT")
    assert len(zoo("predict", tmp_path, "data/blots/test", "--size", "28x28").stdout.splitlines()) == COUNT


@pytest.mark.slow
def test_real_test_images_get_the_answers_of_the_test(module_inline, tiny, tmp_path: Path) -> None:
    root = os.environ.get("ZOO_DATA", "")
    if not root or not (Path(root) / "cifar10-jpeg").is_dir():
        pytest.skip("no cifar10-jpeg in ZOO_DATA: no real images to test on")
    data = (
        "--dataset",
        "cifar10-jpeg",
        "--data-dir",
        root,
        "--set",
        f"augment.eval={PLAIN}",
        "--set",
        "split.train=1280",
    )
    module_inline.ok("bench", "resnet20_gn", *tiny, "--set", f"augment.train={PLAIN}", *data)
    run = find_run(module_inline.folder, "resnet20_gn")
    write_test_images("cifar10-jpeg", tmp_path / "pictures", root)
    output = module_inline.ok("predict", run, tmp_path / "pictures", "--top", "1", "--format", "csv")
    rows = table(output.stdout)
    assert len(rows) == 10000
    check_as_tested(rows, run)
