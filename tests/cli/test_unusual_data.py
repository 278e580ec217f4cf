"""What is unusual about a dataset: the first line of a bench, and a note wherever its runs are shown."""

from __future__ import annotations

import html
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from printed_tables import unescaped

import zoo
from zoo.results.folder import find_results, load_result

RECIPE = """extends: smoke
dataset: ./photos
split: {holdout: 8, seed: 0, train: null}
augment: {train: [Normalize: {from: train}], eval: [Normalize: {from: train}]}
epochs: 1
batch_size: 16
"""
WORDS = [
    "no test image in 1 of 3 classes: c",
    "5 of the 20 test images are also training images",
    "unbalanced test set: 90.0 % of its images are of class a",
    "few test images: their draw alone leaves up to ± 20.1 points open (binomial, 95 %)",
]
NOTES = [f"photos: {words}." for words in WORDS]


@pytest.fixture(scope="module")
def benched(module_inline) -> SimpleNamespace:
    """A run on images of three classes, none of the test images of c, and five of a among the training images."""
    noise, folder = np.random.default_rng(0), module_inline.folder
    images = noise.integers(0, 256, (62, 16, 16, 3), dtype=np.uint8)
    rows = {("train", "a"): range(14), ("train", "b"): range(14, 28), ("train", "c"): range(28, 42)}
    rows |= {("test", "a"): [*range(5), *range(42, 55)], ("test", "b"): range(55, 57)}
    for (split, label), numbers in rows.items():
        (folder / "photos" / split / label).mkdir(parents=True)
        for number in numbers:
            Image.fromarray(images[number]).save(folder / "photos" / split / label / f"{number}.png")
    (folder / "mine.yaml").write_text(RECIPE)
    output = module_inline.ok("bench", "resnet20_bn", "--recipe", "./mine.yaml", "--layout", "nchw")
    return SimpleNamespace(cli=module_inline, output=output, folder=folder)


def test_the_first_line_has_images_size_classes_and_what_is_unusual(benched: SimpleNamespace) -> None:
    decoded, first, *others = benched.output.lines
    assert decoded == f"photos: {WORDS[0]}"  # said when images are decoded
    assert first == f"photos: 42 training and 20 test images of 16x16, 3 classes; {'; '.join(WORDS)}"
    assert not any(words in line for line in others for words in WORDS)


@pytest.mark.parametrize(
    "command",
    [("bench", "--dry-run"), ("study", "batch-size", "--values", "8,16", "--dry-run"), ("lr-find", "--steps", "10")],
    ids=" ".join,
)
def test_every_command_that_trains_has_the_line(benched: SimpleNamespace, command: tuple[str, ...]) -> None:
    output = benched.cli(*command, "resnet20_bn", "--recipe", "./mine.yaml", "--layout", "nchw")
    assert output.lines[0] == benched.output.lines[1]


def test_the_result_has_it_and_every_output_has_a_note(benched: SimpleNamespace) -> None:
    cli, folder = benched.cli, benched.folder
    (path,) = find_results([folder / "runs"])
    assert load_result(path).dataset.unusual == WORDS
    assert " ".join(NOTES) in " ".join(benched.output.stdout.split())
    for style in ("text", "markdown", "latex"):
        text = cli.ok("compare", "runs", "--format", style, COLUMNS="1000").stdout
        lines = [unescaped(line.strip().removeprefix(r"\item "), style) for line in text.splitlines()]
        assert set(NOTES) <= set(lines), style
    (group,) = json.loads(cli.ok("compare", "runs", "--format", "json").stdout)
    assert set(NOTES) <= set(group["notes"])
    notebook = html.unescape(zoo.compare(folder / "runs")._repr_html_())
    assert all(note in notebook for note in NOTES)
    evaluated = cli.ok("evaluate", "runs", COLUMNS="1000").stdout
    assert all(note in evaluated for note in NOTES)
    cli.ok("report", "--out", "page")
    pages = [
        "index.html",
        "tradeoffs.html",
        *(f"runs/{page.name}" for page in (folder / "page" / "runs").glob("*.html")),
    ]
    for page in pages:
        text = html.unescape((folder / "page" / page).read_text(encoding="utf-8"))
        assert all(note in text.encode().decode("unicode_escape", "ignore") or note in text for note in NOTES), page


def test_balanced_accuracy_stands_beside_the_accuracy(benched: SimpleNamespace) -> None:
    (path,) = find_results([benched.folder / "runs"])
    test = load_result(path).test
    right = [test.confusion[label][label] for label in range(2)]
    balanced = f"{100 * (right[0] / 18 + right[1] / 2) / 2:.2f}"
    assert (
        f"test accuracy {100 * test.accuracy:.2f} %, balanced {balanced} %, largest class 90.00 % ("
        in benched.output.stderr
    )
    for style in ("text", "markdown", "latex"):
        assert f"{balanced} " in benched.cli.ok("compare", "runs", "--format", style).stdout
    benched.cli.ok("report", "--out", "board")
    index = (benched.folder / "board" / "index.html").read_text(encoding="utf-8")
    assert f'data-key="balanced_accuracy" data-value="{float(balanced) / 100:.4f}'.rstrip("0") in index
    (run,) = (benched.folder / "board" / "runs").glob("*.html")
    assert f"<dt>balanced accuracy %</dt><dd>{balanced}</dd>" in run.read_text(encoding="utf-8")


def test_a_model_card_has_it_and_states_the_constants(benched: SimpleNamespace) -> None:
    (path,) = find_results([benched.folder / "runs"])
    computed = load_result(path).dataset.normalization
    benched.cli.ok("export", path.parent, "--to", "safetensors", "--out", "exported")
    card = (benched.folder / "exported" / "README.md").read_text(encoding="utf-8")
    assert all(f"- {note}" in card for note in NOTES)
    assert re.search(r"balanced accuracy \(mean over classes\) +\| \d+\.\d\d %", card)
    facts = json.loads((benched.folder / "exported" / "config.json").read_text())
    assert (facts["mean"], facts["std"]) == (list(computed.mean), list(computed.std))
    assert re.search(r"Normalize:\s*\{?\s*from: train", (benched.folder / "exported" / "recipe.yaml").read_text())


def test_zoo_evaluate_has_both_on_unbalanced_images(benched: SimpleNamespace) -> None:
    (path,) = find_results([benched.folder / "runs"])
    balance = load_result(path).test.balance
    text = benched.cli.ok("evaluate", "runs", COLUMNS="1000").stdout
    assert re.search(r"same +balanced accuracy % +largest class % +loss", text)
    assert re.search(rf" yes +{100 * balance.accuracy:.2f} +90.00 ", text)
    (record,) = json.loads(benched.cli.ok("evaluate", "runs", "--format", "json").stdout)
    assert (record["balanced_accuracy"], record["largest_class_share"]) == (balance.accuracy, 0.9)
    assert record["unusual"] == NOTES


def test_notes_below_other_images_are_of_the_run_s_own(benched: SimpleNamespace) -> None:
    shutil.copytree(benched.folder / "photos", benched.folder / "other")
    Image.new("RGB", (16, 16)).save(benched.folder / "other" / "test" / "b" / "0.png")
    text = benched.cli.ok("evaluate", "runs", "--dataset", "./other", COLUMNS="1000").stdout
    assert all(f"The run's own data, {note}" in text for note in NOTES)
    assert not any(line in NOTES for line in text.splitlines())
