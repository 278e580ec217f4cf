"""A run keeps what was chosen of its dataset: every command that opens the run's own images does so without it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

AUGMENT = "[{Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}]"  # which can be exported
BENCH = ("bench", "resnet20_bn", "--set", f"augment.train={AUGMENT}", "--set", f"augment.eval={AUGMENT}", "--split")


@pytest.fixture(scope="module")
def benched(module_inline, tiny) -> Path:
    """The run of a model on class folders that were divided by ``--split``; the folder is its own data path."""
    folder = module_inline.folder
    for label, name in enumerate(("ant", "bee", "cat")):
        (folder / "data" / "pets" / name).mkdir(parents=True)
        for number in range(48):
            noise = np.random.default_rng((label, number)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "data" / "pets" / name / f"{number}.png")
    module_inline.ok(*BENCH, "0.75", "--dataset", "./data/pets", *tiny)
    (result,) = folder.rglob("result.json")
    return result.parent


def test_the_result_keeps_the_choice(benched: Path) -> None:
    dataset = json.loads((benched / "result.json").read_text())["dataset"]
    assert (dataset["split"], dataset["test_split"], dataset["label_column"]) == (0.75, "test", None)
    assert (dataset["train_images"] + dataset["holdout_images"], dataset["test_images"]) == (96, 36)


def test_evaluate_opens_the_same_images(benched: Path, module_inline) -> None:
    output = module_inline.ok("evaluate", benched, "--data-dir", "data")
    assert "36 test images" in output.stdout
    wrong = module_inline("evaluate", benched, "--data-dir", "data", "--split", "0.5")
    assert (wrong.returncode, wrong.stderr) == (
        2, f"zoo: {benched}: its own images are those that it was tested on; take out --split 0.5\n"
    )  # fmt: skip
    other = module_inline("evaluate", benched, "--dataset", "./data/pets")
    assert other.returncode == 2
    assert "give --split 0.8" in other.stderr
    module_inline.ok("evaluate", benched, "--dataset", "./data/pets", "--split", "0.5")


def test_a_card_says_how_to_train_it_again(benched: Path, module_inline, tmp_path: Path) -> None:
    module_inline.ok("export", benched, "--to", "safetensors", "--out", tmp_path / "out", "--data-dir", "data")
    card = (tmp_path / "out" / "README.md").read_text()
    (command,) = (line for line in card.splitlines() if line.startswith("zoo bench "))
    words = shlex.split(command)
    assert words[words.index("--dataset") :][:4] == ["--dataset", "pets", "--split", "0.75"]


def test_the_same_command_finds_the_run_done(benched: Path, module_inline, tiny) -> None:
    before = (benched / "result.json").read_bytes()
    module_inline.ok(*BENCH, "0.75", "--dataset", "./data/pets", *tiny)
    assert (benched / "result.json").read_bytes() == before
    other = module_inline(*BENCH, "0.8", "--dataset", "./data/pets", *tiny)
    assert other.returncode == 2
    assert "was made with another dataset" in other.stderr


@pytest.mark.parametrize("command", ["bench", "tune", "lr-find", "speed", "study batch-size"])
def test_every_command_that_trains_takes_the_choice(benched: Path, module_inline, command: str) -> None:
    """The dataset of the recipe is refused with it: it leaves no choice."""
    more = {"tune": ("--trials", "1"), "study batch-size": ("--values", "16,32")}.get(command, ())
    output = module_inline(*command.split(), "resnet20_bn", "--recipe", "smoke", "--test-split", "val", *more)
    assert output.stderr.endswith("shapes10 has splits and labels of its own; take out --test-split val\n")


def test_push_and_explain_take_the_choice(benched: Path, module_inline) -> None:
    for command in (["push", str(benched), "a/b", "--dry-run"], ["explain", str(benched)]):
        output = module_inline(*command, "--test-split", "val", "--data-dir", "data")
        assert "its own images are those that it was tested on; take out --test-split val" in output.stderr
