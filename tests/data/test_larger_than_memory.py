"""Datasets larger than memory: decoded block by block, and trained on from the map."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from damaged import little_memory
from PIL import Image

from zoo.data.augment.spec import parse
from zoo.data.datasets import load
from zoo.data.loader import Batching, EvalLoader, TrainLoader, make_augment
from zoo.utils.distributed import SINGLE_PROCESS

LIMIT = 4 << 30  # of RLIMIT_DATA; RLIMIT_AS counts the map itself


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_DATA here")
def test_case_26_larger_than_memory(tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """228 MB of pixels in 201 MB: numpy's traceback for an array of the whole split."""
    stream = io.BytesIO()
    Image.new("RGB", (1000, 1000), (9, 8, 7)).save(stream, "PNG", compress_level=1)
    for split, count in (("train", 36), ("test", 2)):
        for label in "ab":
            (tmp_path / "d" / split / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "d" / split / label / f"{number}.png").write_bytes(stream.getvalue())
    monkeypatch.setattr("zoo.data.loader.PIXELS_AT_ONCE", 1_000_000)
    monkeypatch.setattr("zoo.data.augment.batched._room", lambda _: 48 << 20)
    resize = make_augment(parse([{"Resize": {"height": 8, "width": 8}}], "here"), (1000, 1000), "batched")
    with little_memory(192 << 20):
        train, test = (load(str(tmp_path / "d")).split(split) for split in ("train", "test"))
        loader = TrainLoader(train.images, train.labels, resize, Batching(8, 0, SINGLE_PROCESS))
        images = [x for x, _ in loader.epoch(0)]
        images += [x for x, _ in EvalLoader(test.images, test.labels, resize, batch_size=256)]
    assert [len(x) for x in images] == [8] * 9 + [4]
    assert all((x == x.new_tensor([9, 8, 7])[:, None, None]).all() for x in images)


def _write(folder: Path) -> None:
    """12,000 + 1,000 JPEG files of 512x512 in ten classes: another detail of one picture each."""
    ground = np.random.default_rng(0).normal(128, 40, (24, 24, 3)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(ground).resize((1100, 1100), Image.Resampling.BICUBIC)
    for split, count in (("train", 12_000), ("test", 1_000)):
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
        for number in range(count):
            left, top = number % 500, 5 * (number // 500) + 250 * (split == "test")
            detail = picture.crop((left, top, left + 512, top + 512))
            detail.save(folder / split / str(number % 10) / f"{number}.jpg", quality=50)


RECIPE = """
extends: smoke
split: {holdout: 500, seed: 0, train: null}
augment:
  train: [&resize {Resize: {height: 16, width: 16}}, &norm {Normalize: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}}]
  eval: [*resize, *norm]
epochs: 1
batch_size: 1150
schedule: {name: constant, warmup_epochs: 0}
precision: fp32
"""
LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_DATA, ({0}, {0})); import zoo.cli.main; zoo.cli.main.main()"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_DATA here")
def test_ten_gigabytes_are_read_and_trained_for_ten_steps_in_four(tmp_path: Path, figure) -> None:
    """Ten steps over all images, held-out, training and test images evaluated, then `evaluate` and `explain`."""
    folder, cache = tmp_path / "large", tmp_path / "cache"
    _write(folder)
    (tmp_path / "ten.yaml").write_text(RECIPE)
    started = time.monotonic()

    def zoo(*arguments: str) -> str:
        command = [sys.executable, "-c", LIMITED.format(LIMIT), *arguments]
        environment = os.environ | {"ZOO_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    try:
        output = zoo("bench", "resnet20_bn", "--recipe", "ten.yaml", "--dataset", "./large")
        assert "decoding 13,000 images of 512x512 pixels: 10.2 GB of the " in output
        (copy,) = (cache / "decoded").iterdir()
        assert (copy / "train_images.npy").stat().st_size == 12_000 * 512 * 512 * 3 + 128
        (result,) = (tmp_path / "runs").rglob("result.json")
        assert json.loads(result.read_text())["test"]["images"] == 1000
        figure("seconds for 10 GB", round(time.monotonic() - started))
        assert "1,000" in zoo("evaluate", str(result.parent), "--dataset", "./large")
        zoo("explain", str(result.parent), "--dataset", "./large")
    finally:
        subprocess.run(["rm", "-rf", str(folder), str(cache)], check=True)
