"""A run whose recipe names the size of its images, on a folder of images of many sizes."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from run_files import find_run

from zoo.results.predictions import load_predictions

PLAIN = "{train: [&n {Normalize: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}}], eval: [*n]}"


def write_photos(root: Path) -> None:
    noise = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        for label in ("day", "night"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                height, width = noise.integers(12, 60, 2)
                pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number:02d}.png")


def test_all_commands_open_the_data_in_the_size_of_the_recipe(inline_cli: Any, tiny: tuple[str, ...]) -> None:
    write_photos(inline_cli.folder / "photos")
    data = ("--data-dir", ".", "--set", "split={holdout: 8, seed: 0}", "--set", f"augment={PLAIN}")
    bench = ("bench", "resnet20_bn", *tiny, "--dataset", "photos", *data, "--set", "batch_size=8")
    refused = inline_cli(*bench)
    assert refused.returncode == 2
    assert "all must have one size; the recipe key image_size resizes them" in refused.stderr
    inline_cli.ok(*bench, "--set", "image_size=[16, 24]")
    run = find_run(inline_cli.folder, "resnet20_bn")
    stored = json.loads((run / "result.json").read_text())
    assert stored["recipe"]["content"]["image_size"] == [16, 24]
    same = inline_cli.ok("evaluate", run, "--data-dir", ".", "--format", "json")
    assert json.loads(same.stdout)[0]["same_as_stored"] is True
    assert inline_cli.ok("evaluate", run, "--dataset", "./photos").stdout.startswith("photos, 12 test images")
    answers = inline_cli.ok("predict", run, "photos/test", "--top", "1", "--format", "csv").stdout
    kept, order = load_predictions(run / "predictions.npz"), sorted_rows(inline_cli.folder / "photos")
    assert [int(row["label"]) for row in csv.DictReader(io.StringIO(answers))] == kept["predicted"][order].tolist()
    inline_cli.ok("export", run, "--to", "safetensors", "--data-dir", ".")
    card = (run / "export" / "safetensors" / "README.md").read_text()
    assert "Images of another size were stretched to it by Pillow's bilinear filter." in card
    verified = inline_cli.ok("data", "verify", "./photos", "--image-size", "24x16").stdout
    assert f"fingerprint: {stored['dataset']['fingerprint']}" in verified


def sorted_rows(root: Path) -> list[int]:
    """For each test file in order of its name, its row in the dataset."""
    names = sorted(path.relative_to(root / "test").as_posix() for path in (root / "test").rglob("*.png"))
    shuffled = list(names)
    random.Random(0).shuffle(shuffled)
    return [shuffled.index(name) for name in names]
