"""``zoo explain`` on real runs, tiny ones: the pictures, the page, that nothing else changes, and what mistakes say."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from run_files import find_run, save_edited, snapshot

# Text from outside that a page, a picture or a caption could take for its own language.
CLASSES = ("<b>bold\"&'", "$x^2$ \\frac", "{{ 7 * 7 }}", "a rather long name of a class")
LABEL = '<script>alert(1)</script> & "GroupNorm" of $4$'
FILES = [
    "augmented.png", "confusion.png", "curves.png", "filters.png", "gradcam-correct.png", "gradcam-mistakes.png",
    "index.html", "mistakes-by-class.png", "mistakes.png", "norms.png", "per-class.png", "reliability.png",
]  # fmt: skip
PER_CLASS = 10  # test images


def write_data(root: Path) -> None:
    """An image folder of four classes of coloured noise, which a network may or may not learn in two epochs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", PER_CLASS)):
        for label, name in enumerate(CLASSES):
            folder = root / "noise" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                small = rng.integers(0, 200, (4, 4, 3), dtype=np.uint8)
                small[..., label % 3] += 55
                Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def benched(module_cli, module_inline, tiny) -> SimpleNamespace:
    """Two runs and the pictures of the first; tests that change something take a copy."""
    folder = module_cli.folder
    write_data(folder / "data")
    (folder / "registry.yaml").write_text(
        f'norms:\n  mine: {{builder: "explained_norm:mine", label: {json.dumps(LABEL)}}}\n'
    )
    (folder / "explained_norm.py").write_text(
        "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm(num_channels // 4, num_channels)\n"
    )
    data = ("--dataset", "noise", "--data-dir", "data")
    module_inline.ok("bench", "resnet20_bn", *data, *tiny)
    module_inline.ok(
        "bench", "resnet20_mine", *data, *tiny, "--set", "precision=bf16", "--set", "mirror_evaluation=true"
    )  # fmt: skip
    mine, other = find_run(folder, "resnet20_mine"), find_run(folder, "resnet20_bn")
    before = snapshot(folder / "runs")
    output = module_cli.ok("explain", mine, "--data-dir", "data", "--images", "3")
    return SimpleNamespace(
        cli=module_cli, folder=folder, mine=mine, other=other, before=before, output=output, out=mine / "explain"
    )


class Page(HTMLParser):
    """What a browser would take from the page: text, pictures, and everything that it would fetch or run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.pictures, self.references, self.tags = "", [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "img":
            self.pictures.append(given)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_files_are_there_and_named_as_they_are_written(benched) -> None:
    assert sorted(path.name for path in benched.out.iterdir()) == FILES
    lines = benched.output.stdout.splitlines()
    assert sorted(line.strip() for line in lines[1:-1]) == FILES
    assert lines[1:-1][-1].strip() == "index.html"
    accuracy = json.loads((benched.mine / "result.json").read_text())["test"]["accuracy"]
    recipe = benched.mine.parts[-3]
    assert (
        lines[0] == f"resnet20_mine ({LABEL}), recipe {recipe}, seed 0: {100 * accuracy:.2f} % of 40 noise test images"
    )
    assert re.fullmatch(r"12 files in \S+/explain, \d+(\.\d)? s; open \S+/explain/index.html", lines[-1])
    assert benched.output.stderr == ""


def test_nothing_that_is_stored_changes(benched) -> None:
    after = {name: told for name, told in snapshot(benched.folder / "runs").items() if "/explain/" not in name}
    assert after == benched.before


def test_pictures_are_pictures_and_not_blank(benched) -> None:
    for path in benched.out.glob("*.png"):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[1] >= 600, path.name
        assert 0.02 < (pixels < 250).any(2).mean() < 0.98, path.name
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert (edge > 250).all(), f"{path.name} runs over its edge"


def test_the_page(benched) -> None:
    path = benched.out / "index.html"
    page, source = Page(path), path.read_text()
    assert "script" not in page.tags
    assert not re.search(r"https?:|//|@import|url\(", source)
    assert {name for name in page.references if not name.startswith("#")} == {n for n in FILES if n.endswith(".png")}
    anchors = {name[1:] for name in page.references if name.startswith("#")}
    assert anchors == set(re.findall(r'<section id="([^"]+)"', source))
    assert len(page.pictures) == 11
    for picture in page.pictures:
        assert len(picture["alt"]) > 20
        with Image.open(path.with_name(picture["src"])) as image:
            assert image.size == (int(picture["width"]), int(picture["height"]))
    assert "prefers-color-scheme: dark" in source
    assert 'name="viewport"' in source
    # Each caption names the run and its data; names from outside stand there as they are.
    line = benched.output.stdout.splitlines()[0]
    assert page.text.count(line) == 1 + 11
    assert html.escape(LABEL, quote=False).split("&quot;")[0][:40] in source
    assert LABEL in page.text
    assert "{{ 7 * 7 }}" in page.text or "$x^2$" in page.text or "<b>bold" in page.text  # the best or the worst class
    for transform in ("Resize(height=16, width=16, interpolation=3)", "HorizontalFlip(p=0.5)", "Normalize("):
        assert transform in page.text
    assert "layer2 and layer3" in page.text


def test_the_figures_on_the_page_are_the_result_s(benched) -> None:
    text = Page(benched.out / "index.html").text
    test = json.loads((benched.mine / "result.json").read_text())["test"]
    assert f"{100 * test['accuracy']:.2f} %, 95 % confidence interval" in text
    assert f"{40 - test['correct']} misclassified" in text
    assert f"{test['loss']:.4f} nats, {test['ece']:.4f}" in text
    worst = min(test["per_class_accuracy"])
    assert f"({100 * worst:.1f} %). The interval" in text
    assert "bf16" in text
    assert "the mean over each image and its mirror image" in text


def test_equal_runs_give_equal_bytes(benched, zoo, tmp_path: Path) -> None:
    output = zoo("explain", benched.mine, "--images", "3", "--out", tmp_path / "new" / "again")
    again = {path.name: path.read_bytes() for path in (tmp_path / "new" / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in benched.out.iterdir()}
    assert output.stderr == ""


def test_predictions_that_do_not_come_out_again_are_told(benched, zoo, tmp_path: Path) -> None:
    """Another layer, one image a row, and stored predictions of which ten were changed."""
    run = shutil.copytree(benched.other, tmp_path / "run")
    with np.load(run / "predictions.npz") as arrays:
        kept = {name: arrays[name].copy() for name in arrays}
    kept["predicted"][:10] = (kept["predicted"][:10] + 1) % 4
    np.savez_compressed(run / "predictions.npz", **kept)
    result = json.loads((run / "result.json").read_text())
    result["model"]["batch_dependent"] = 256
    (run / "result.json").write_text(json.dumps(result))
    output = zoo("explain", run, "--images", "1", "--layers", "layer1.0.conv2")
    assert output.stderr.count("\n") == 1
    assert "warning: 10 of 40 predictions differ from predictions.npz (accuracy stored" in output.stderr
    text = Page(run / "explain" / "index.html").text
    assert "10 of 40 predictions differ from predictions.npz" in text
    assert "weights that are not this run's" in text
    assert " %§ of 40 noise test images" in text
    assert "§ batch-dependent: predictions depend on the other images of the evaluation batch (256 images)" in text
    assert "increase the class's logit at layer1.0.conv2 are yellow" in text
    assert "mirror" not in text
    assert (run / "explain" / "gradcam-correct.png").read_bytes() != (benched.out / "gradcam-correct.png").read_bytes()


def test_other_test_images_are_named_and_not_compared_with_the_stored_ones(benched, zoo, tmp_path: Path) -> None:
    folder = shutil.copytree(benched.folder / "data" / "noise", tmp_path / "louder")
    for name in CLASSES[1:]:
        (folder / "test" / name / "0.png").unlink()
    output = zoo("explain", benched.other, "--dataset", folder, "--images", "1", "--out", tmp_path / "out")
    assert output.stderr == ""
    assert output.stdout.splitlines()[0].endswith(" % of 37 louder test images")
    text = Page(tmp_path / "out" / "index.html").text
    stored = json.loads((benched.other / "result.json").read_text())["test"]["accuracy"]
    assert f"on noise{100 * stored:.2f} % when it was trained" in text.replace("\n", "")


# --- mistakes ---


def check(output: SimpleNamespace, *says: str) -> None:
    """One helpful line."""
    assert output.stdout == ""
    assert "Traceback" not in output.stderr
    assert output.stderr.startswith("zoo: ")
    assert output.stderr.count("\n") == 1, output.stderr
    for part in says:
        assert part in output.stderr, f"not said: {part}"


@pytest.fixture
def copied(benched, tmp_path: Path) -> Path:
    """A copy of one run."""
    return shutil.copytree(benched.other, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--layers", "layer2.0.conv3"), ("unknown layer 'layer2.0.conv3'", "did you mean 'layer2.0.conv2'")),
        (
            ("--layers", "layer2,fc"),
            ("layer 'fc' of resnet20_bn has no spatial output", "such as layer1, layer2, layer3"),
        ),
        (("--layers", ","), ("--layers", "names with commas")),
        (("--images", "0"), ("--images", "0", "1<=x<=20")),
        (("--images", "21"), ("--images", "21", "1<=x<=20")),
        (("--device", "gpu"), ("--device gpu", "auto, cpu, cuda")),
        (("--dataset", "shapes10"), ("trained on noise with 4 classes, but shapes10 has 10",)),
        (("--dataset", "noice"), ("unknown dataset 'noice'", "did you mean 'noise'")),
        (("--out", "registry.yaml"), ("--out registry.yaml: is a file", "name a folder")),
        (("--out", "registry.yaml/below"), ("--out registry.yaml/below: the folder cannot be made", "--out")),
    ],
)
def test_mistake(zoo, copied: Path, options: tuple[str, ...], says: tuple[str, ...]) -> None:
    check(zoo("explain", copied, *options, code=2), *says)
    assert not (copied / "explain").exists()


def test_runs_that_have_no_pictures(zoo, benched, copied: Path) -> None:
    check(zoo("explain", code=2), "Missing argument", "RUN")
    check(zoo("explain", "nowhere", code=2), "no runs in nowhere")
    check(zoo("explain", "runs", code=2), "runs holds 2 runs", "name one, such as runs/noise/")
    weights = copied / "model.safetensors"
    kept = weights.read_bytes()
    weights.unlink()
    check(zoo("explain", copied, code=2), f"{copied}: has a result but no model.safetensors")
    weights.write_bytes(kept)
    (copied / "history.csv").unlink()
    check(zoo("explain", copied, code=2), f"{copied / 'history.csv'}: the history cannot be read")
    result = json.loads((copied / "result.json").read_text())
    result |= {"status": "diverged", "diverged_epoch": 2, "diverged_step": 1, "test": None, "holdout": None}
    (copied / "result.json").write_text(json.dumps(result | {"train": None, "epochs_to_90_percent_of_final": None}))
    check(zoo("explain", copied, code=2), f"{copied}: the run diverged at epoch 2", "no weights")


def test_images_of_another_size(zoo, benched, copied: Path) -> None:
    """A recipe that had not resized them; ``--dataset`` of such images would do the same."""
    result = json.loads((copied / "result.json").read_text())
    result["recipe"]["content"]["augment"]["eval"] = result["recipe"]["content"]["augment"]["eval"][1:]
    save_edited(copied / "result.json", result)
    check(zoo("explain", copied, code=2), "on noise, images of shape (3, 32, 32)", "of another size; resize them")


@pytest.mark.parametrize("name", ["matplotlib", "captum", "jinja2"])
def test_without_a_package_it_says_what_to_install(zoo, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda asked, *rest: None if asked == name else real(asked, *rest))
    check(zoo("explain", "nowhere", code=2), f"needs {name}, which is not installed", f"pip install {name}")
