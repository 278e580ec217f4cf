"""``zoo export`` and ``zoo push`` on real runs: every format asked again by its own reader, the card, mistakes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from run_files import save_edited
from torch import Tensor, nn
from torch.nn import functional

from zoo.data import datasets
from zoo.data.augment.batched import BatchedAugment
from zoo.data.augment.spec import parse
from zoo.engine.evaluate import evaluate
from zoo.errors import ResultError
from zoo.export.check import Check, Reference, check
from zoo.export.graph import Resized
from zoo.recipes.load import load_recipe
from zoo.registry.merge import load_registry
from zoo.render.marks import DISTURBED_NOTE, TEST_NOTE
from zoo.results.folder import load_result
from zoo.trained.load import TrainedRun, open_run

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CLASSES, SIDE, COUNT = ("circle", "cross", "line", "ring"), 16, 60  # COUNT: test images
NORMALIZE = "[{Normalize: {mean: [0.5, 0.4, 0.6], std: [0.25, 0.3, 0.2]}}]"
PLAIN = ("--set", f"augment.eval={NORMALIZE}", "--set", f"augment.train={NORMALIZE}")
HALVED = f"[{{Resize: {{height: 8, width: 8, interpolation: 3}}}}, {NORMALIZE[1:]}"  # as in README's first run
SMALL = ("--set", f"augment.eval={HALVED}", "--set", f"augment.train={HALVED}")
# Answers otherwise while torch.export looks at it: what a check is for.
LIAR = """import torch
from torch import nn


class Liar(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x) * (1.01 if torch.compiler.is_compiling() else 1.0)


def liar(num_channels):
    return Liar(num_channels // 4, num_channels)
"""
FILES = ["README.md", "config.json", "recipe.yaml"]


def write_data(root: Path) -> None:
    """An image folder of coloured noise: small images, so that what is measured is the export."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", COUNT // len(CLASSES))):
        for name in CLASSES:
            folder = root / "noise" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
                image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def benched(module_inline, tiny) -> SimpleNamespace:
    """Four runs under one recipe."""
    folder = module_inline.folder
    write_data(folder / "data")
    (folder / "registry.yaml").write_text('norms:\n  liar: "lying_norm:liar"\n')
    (folder / "lying_norm.py").write_text(LIAR)
    data = ("--dataset", "noise", "--data-dir", "data")
    module_inline.ok("bench", "resnet20_bn", "resnet20_ln", "resnet20_ln2d", "resnet20_liar", *tiny, *PLAIN, *data)
    found = {path.parent.name: path for path in (folder / "runs").glob("*/*/*/seed0")}
    inside = {"ZOO_DATA": str(folder / "data")} | module_inline.environment
    return SimpleNamespace(cli=replace(module_inline, environment=inside), folder=folder, **found)


def benched_images(benched: SimpleNamespace) -> np.ndarray:
    """(COUNT, H, W, 3) uint8: the test images of all three."""
    return datasets.load("noise", benched.folder / "data").test.images


@pytest.fixture
def copied(benched, tmp_path: Path) -> Path:
    """A copy of the run of resnet20_bn, to be changed."""
    return Path(shutil.copytree(benched.resnet20_bn, tmp_path / "seed0"))


def asked(run: TrainedRun, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W, 3) uint8 images as an export takes them, and what torch says of them in fp32, by the run's loader."""
    loader = run.loader(images, np.zeros(len(images), np.int64), 64, CPU)
    logits = evaluate(run.load(CPU), loader, CPU, "fp32").logits
    return (images.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32), logits.numpy()


PARTS = (slice(0, 1), slice(1, 8), slice(8, COUNT))  # batches of any size


def use_as_the_card_says(folder: Path) -> str:
    """What the Python of the card prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as told:
        exec(code, {})
    return told.getvalue().strip()


def check_onnx(run: TrainedRun, folder: Path, images: np.ndarray) -> None:
    """onnxruntime answers as torch does, to one image and to many; the file says what it is, not where it was made."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("image", "tensor(float)", [3, *images.shape[1:3]])
    given, wanted = asked(run, images)
    for rows in PARTS:
        (logits,) = session.run(None, {"image": given[rows]})
        assert np.abs(logits - wanted[rows]).max() <= 1e-4
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == run.result.dataset.classes
    assert told["recipe_fingerprint"] == run.result.recipe.fingerprint
    content = run.result.recipe.content["augment"]["eval"][0]["Normalize"]
    assert (json.loads(told["mean"]), json.loads(told["std"])) == (content["mean"], content["std"])
    for place in (ROOT, Path(torch.__file__).parent, Path(onnx.__file__).parent):
        assert str(place).encode() not in (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("model", ["resnet20_bn", "resnet20_ln"])
def test_onnx(benched, model: str) -> None:
    folder = getattr(benched, model)
    output = benched.cli.ok("export", folder, "--to", "onnx")
    first, last = output.stdout.splitlines()
    assert first.startswith(f"{model} seed 0 as onnx: checked on 60 noise test images: same predictions, logits")
    assert last == f"wrote model.onnx, config.json, README.md, recipe.yaml to {folder}/export/onnx"
    assert output.stderr == ""
    made = folder / "export" / "onnx"
    assert sorted(path.name for path in made.iterdir()) == sorted([*FILES, "model.onnx"])
    run = open_run(folder, load_registry(None))
    check_onnx(run, made, benched_images(benched))
    assert use_as_the_card_says(made) in run.result.dataset.classes


def test_program(benched, tmp_path: Path) -> None:
    output = benched.cli.ok("export", benched.resnet20_bn, "--to", "torch-export", "--out", tmp_path / "new" / "deep")
    assert output.stderr == ""
    made, run = tmp_path / "new" / "deep", open_run(benched.resnet20_bn, load_registry(None))
    extra = {"config.json": ""}
    program = torch.export.load(made / "model.pt2", extra_files=extra).module()
    given, wanted = asked(run, benched_images(benched))
    for rows in PARTS:
        assert np.abs(program(torch.from_numpy(given[rows])).detach().numpy() - wanted[rows]).max() <= 1e-4
    assert json.loads(extra["config.json"]) == json.loads((made / "config.json").read_text())
    assert use_as_the_card_says(made) in run.result.dataset.classes


def test_the_readme_of_a_program_whose_norm_is_an_autograd_function_runs_word_for_word(benched, tmp_path: Path) -> None:
    """With gradients enabled, as they are in a script, which such a program has none of."""
    benched.cli.ok("export", benched.resnet20_ln2d, "--to", "torch-export", "--out", tmp_path)
    assert use_as_the_card_says(tmp_path) in CLASSES


def test_an_export_whose_readme_fails_is_not_written(benched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.export import formats

    broken = replace(formats.FORMATS["onnx"], usage="import json\n\njson.load(open('no-such-file'))\n")
    monkeypatch.setitem(formats.FORMATS, "onnx", broken)
    output = benched.cli("export", benched.resnet20_bn, "--to", "onnx", "--out", tmp_path / "out")
    check_refused(output, "the Python of its README.md fails: FileNotFoundError", "choose another format with --to")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [("export", "--to", "safetensors", "--out"), ("push", "me/it", "--to-folder")])
def test_case_13_export_and_push_take_the_dataset_that_they_advise(benched, tmp_path: Path, command) -> None:
    name, *options = command
    nowhere = {"ZOO_DATA": str(tmp_path)}
    arguments = (name, benched.resnet20_bn, *options, tmp_path / "out")
    check_refused(benched.cli(*arguments, **nowhere), "unknown dataset 'noise'", "--dataset ./noise")
    output = benched.cli.ok(*arguments, "--dataset", benched.folder / "data" / "noise", **nowhere)
    assert "checked on 60 noise test images" in output.stdout


def test_weights_for_the_hub(benched, tmp_path: Path) -> None:
    benched.cli.ok("export", benched.resnet20_bn, "--to", "safetensors", "--out", tmp_path, "--license", "mit")
    result = json.loads((benched.resnet20_bn / "result.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "model.safetensors"])
    assert (tmp_path / "model.safetensors").read_bytes() == (benched.resnet20_bn / "model.safetensors").read_bytes()
    told = json.loads((tmp_path / "config.json").read_text())
    assert (told["model"], told["architecture"], told["norm"]) == ("resnet20_bn", "resnet20", "bn")
    assert (told["classes"], told["num_classes"]) == (list(CLASSES), 4)
    assert (told["mean"], told["std"], told["input_size"]) == ([0.5, 0.4, 0.6], [0.25, 0.3, 0.2], [SIDE, SIDE])
    assert told["recipe_fingerprint"] == load_recipe(str(tmp_path / "recipe.yaml")).fingerprint
    assert told["zoo_version"] == result["environment"]["zoo"]
    assert use_as_the_card_says(tmp_path) in told["classes"]

    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.license, card.data.datasets, card.data.metrics) == ("mit", ["noise"], ["accuracy"])
    (figure,) = card.data.eval_results
    assert (figure.dataset_name, figure.dataset_type, figure.dataset_split) == ("noise", "noise", "test")
    assert (figure.metric_name, figure.metric_value) == ("test accuracy", result["test"]["accuracy"])
    text = card.text
    for shown in (
        f"{100 * result['test']['accuracy']:.2f} % of 60 images", result["environment"]["cpu"], "Seed: 0, one run",
        f"({result['environment']['instructions']}), {result['environment']['cores']} cores,",
        "the last epoch's weights (2 of 2)", "--recipe ./recipe.yaml --dataset noise --seed 0 --layout nchw",
    ):  # fmt: skip
        assert shown in text
    assert "†" not in text
    assert "mirror" not in text


def test_the_card_tells_what_chose_how_it_was_evaluated_and_disturbed(benched, copied: Path, tmp_path: Path) -> None:
    """Of a run that says so: all three change what is said of its figures, not its weights."""
    result = json.loads((copied / "result.json").read_text())
    result["recipe"]["content"] |= {"mirror_evaluation": True, "shifted_evaluation": 1}
    result["selection"]["split"] = "test"
    result["environment"]["processes"] = 3
    result["model"]["batch_dependent"] = 256
    result["git"] = {"commit": "abcdef0123456789", "dirty": True}
    result["speed"] |= {
        "train_images_per_second": 25.0, "window_rates": [8.0, 8.0, 25.0, 133.0, 133.0],
        "inference_images_per_second": 400.0, "inference_quartiles": [390.0, 410.0],
        "latency_p50": 0.002, "latency_quartiles": [0.001, 0.003],
    }  # fmt: skip
    save_edited(copied / "result.json", result)
    benched.cli.ok("export", copied, "--to", "safetensors", "--out", tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    (figure,) = card.data.eval_results
    views = "mean over each image, its mirror image and both moved 1 px along a diagonal"
    assert figure.metric_name == f"test accuracy, {views} †§"
    assert TEST_NOTE in card.text
    assert "§ batch-dependent: predictions depend on the other images of the evaluation batch (256 images)" in card.text
    assert f"- Code: commit abcdef01 with uncommitted changes, zoo {result['environment']['zoo']}." in card.text
    assert f", {result['environment']['threads']} threads, 3 processes; torch" in card.text
    assert "That is not in this export, which answers to the image alone" in card.text
    assert re.search(rf"test accuracy \({views}\) +\| \d+\.\d\d % †§ of", card.text)
    for cell in ("| 25 (8-133)‡ images/s ", "| 400 (390-410) images/s in batches of ", "| 2.00 (1.00-3.00)‡ ms "):
        assert cell in card.text, cell
    assert card.text.count(DISTURBED_NOTE) == 1
    assert card.data.license == "unknown"


def test_names_that_are_no_words_are_shown_as_they_are(benched, copied: Path, tmp_path: Path) -> None:
    result = json.loads((copied / "result.json").read_text())
    result["dataset"]["classes"][:3] = ["a: [b", "`tick` | *x*", "quote\" '"]
    (copied / "result.json").write_text(json.dumps(result))
    output = benched.cli("export", copied, "--to", "safetensors", "--out", tmp_path / "out")
    assert output.returncode == 2
    assert "was trained on noise with other classes" in output.stderr
    assert not (tmp_path / "out").exists()
    from zoo.export.card import card, config
    from zoo.export.formats import FORMATS
    from zoo.export.graph import preparation

    run = open_run(copied, load_registry(None))
    facts = config(run, preparation(run), (SIDE, SIDE))
    text = card(run, facts, FORMATS["onnx"], Check("own", 1, 0.0), "mit")
    assert "`a: [b`, `` `tick` | *x* ``" in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "mit"
    assert facts["classes"] == result["dataset"]["classes"]


def check_refused(output: Any, *parts: str) -> None:
    assert output.returncode == 2
    assert output.stdout == ""
    (line,) = output.lines
    for part in parts:
        assert part in line


def test_what_answers_otherwise_is_not_written(benched, tmp_path: Path) -> None:
    out = tmp_path / "out"
    output = benched.cli("export", benched.resnet20_liar, "--to", "torch-export", "--out", out)
    check_refused(output, "on 60 noise test images its logits differ from torch's by", "nothing is written")
    assert not out.exists()


def test_rounding_in_large_logits_is_no_difference() -> None:
    """Running statistics of one step make the logits of a deep network as large as these."""
    torch.manual_seed(0)
    grows = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8)))
    for part in grows:
        part.weight.data.mul_(1000)
    images = torch.rand(20, 3, 4, 4)

    def exported(pixels: Tensor, factor: float = 1) -> Tensor:
        rows = functional.pad(pixels.flatten(1), (0, 16))
        return (grows.double()(rows.double()) * factor).float()

    with torch.no_grad():
        logits = grows(functional.pad(images.flatten(1), (0, 16)))
    wanted = Reference("own", images, logits)
    checked = check(exported, wanted, "grows")
    assert 1e-4 < checked.difference < checked.bound
    with pytest.raises(ResultError, match=r"grows: on 20 own test images its logits differ from torch's by"):
        check(lambda pixels: exported(pixels, 1.0001), wanted, "grows")


@pytest.mark.parametrize(
    ("resize", "mode"),
    [
        ({"height": 8, "width": 8, "interpolation": 3}, "area"),  # halved, as in the recipe of README's first run
        ({"height": 11, "width": 7, "interpolation": 3}, "area"),
        ({"height": 24, "width": 20}, "bilinear"),
        ({"height": 9, "width": 9}, "bilinear"),
    ],
)
def test_a_graph_resizes_to_the_levels_that_the_run_saw(resize: dict[str, int], mode: str) -> None:
    images = torch.randint(0, 256, (64, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batched = BatchedAugment(parse([{"Resize": resize}], "here"), (SIDE, SIDE))
    part = Resized(batched.ops[0])
    assert (part.mode, list(part.size)) == (mode, [resize["height"], resize["width"]])
    seen = batched.apply(images, batched.draw(0, 0, len(images)))
    torch.testing.assert_close(part(images.float() / 255) * 255, seen, atol=1e-3, rtol=0)


@pytest.mark.parametrize("to", ["safetensors", "onnx"])
def test_a_run_of_a_recipe_that_resizes_is_exported(benched, tiny, tmp_path: Path, to: str) -> None:
    benched.cli.ok("bench", "resnet20_bn", *tiny, *SMALL, "--dataset", "noise", "--runs", "small")
    (run,) = (path.parent for path in (benched.folder / "small").rglob("result.json"))
    output = benched.cli.ok("export", run, "--to", to, "--out", tmp_path / "out")
    assert "checked on 60 noise test images: same predictions" in output.stdout
    facts = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (facts["resize"], facts["input_size"]) == ({"size": [8, 8], "mode": "area"}, [SIDE, SIDE])
    assert use_as_the_card_says(tmp_path / "out") in facts["classes"]


def test_mistakes(benched, copied: Path, tmp_path: Path) -> None:
    cli, out = benched.cli, tmp_path / "out"
    to = ("--to", "safetensors", "--out", out)
    check_refused(cli("export", "runs", *to), "runs holds 4 runs", "name one, such as runs/noise/")
    check_refused(cli("export", "nowhere", *to), "no such folder")
    (tmp_path / "file").write_text("")
    check_refused(cli("export", copied, *to[:2], "--out", tmp_path / "file"), "is a file; name a folder")
    result = json.loads((copied / "result.json").read_text())
    content = result["recipe"]["content"]["augment"]
    for steps, said in (
        ([*content["eval"], {"Resize": {"height": 8, "width": 8}}], "evaluates with Resize, and an export holds"),
        (content["eval"] * 2, "normalises 2 times"),
        ([{"Normalize": {"normalization": "image"}}], "Normalize of normalization 'image'"),
    ):
        changed = result | {
            "recipe": result["recipe"] | {"content": result["recipe"]["content"] | {"augment": content}}
        }
        changed["recipe"]["content"]["augment"] = content | {"eval": steps}
        save_edited(copied / "result.json", changed)
        check_refused(cli("export", copied, *to), said)
    other = result | {"dataset": result["dataset"] | {"fingerprint": "0" * 64}}
    (copied / "result.json").write_text(json.dumps(other))
    check_refused(cli("export", copied, *to), "was made with another noise")
    (copied / "model.safetensors").unlink()
    check_refused(cli("export", copied, *to), "has a result but no model.safetensors")
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (("export", "runs", "--to", "onnx"), "onnx"),
        (("export", "runs", "--to", "onnx"), "onnxruntime"),
        (("push", "runs", "me/it", "--dry-run"), "huggingface_hub"),
    ],
)
def test_without_a_package_it_says_what_to_install(
    inline_cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], missing: str
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda asked, *rest: None if asked == missing else real(asked, *rest)
    )
    check_refused(inline_cli(*command), f"{missing}, which is not installed; pip install {missing}")


def test_push_without_network(benched, tmp_path: Path) -> None:
    away = {"HF_TOKEN": "", "HF_HOME": str(tmp_path / "home")}
    output = benched.cli.ok("push", benched.resnet20_bn, "me/resnet20-bn", "--to-folder", tmp_path / "it", **away)
    listed = dict(re.findall(r"^  (\S+)  ([\d,]+) bytes$", output.stdout, re.MULTILINE))
    written = {path.name: f"{path.stat().st_size:,}" for path in (tmp_path / "it").iterdir()}
    assert listed == written
    assert set(written) == {*FILES, "model.safetensors"}
    dry = benched.cli.ok("push", benched.resnet20_bn, "me/resnet20-bn", "--dry-run", **away).stdout
    assert dict(re.findall(r"^  (\S+)  ([\d,]+) bytes$", dry, re.MULTILINE)) == written
    assert dry.splitlines()[-1].endswith("would go to the model repository me/resnet20-bn; nothing was sent")
    for repo, said in (("resnet20-bn", "has no namespace"), ("me/a/b", "REPO_ID 'me/a/b'"), ("me/--x", "--")):
        check_refused(benched.cli("push", benched.resnet20_bn, repo, "--dry-run", **away), said, "NAMESPACE/NAME")
    both = ("--dry-run", "--to-folder", tmp_path / "other")
    check_refused(benched.cli("push", benched.resnet20_bn, "me/it", *both, **away), "exclude each other")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as one small commit needs."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        if self.headers["Authorization"] != "Bearer hf_right":
            return self.answer(401, {"error": "Invalid user token"})
        if self.path.endswith("/preupload/main"):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        address = f"http://127.0.0.1:{self.server.server_port}/me/it"
        return self.answer(200, {"url": address, "commitUrl": f"{address}/commit/abc", "commitOid": "abc"})

    def answer(self, code: int, told: dict[str, Any]) -> None:
        content = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *told: Any) -> None:
        """Quiet."""


UPLOAD = """
from zoo.errors import ZooError
from zoo.export.push import find_token, upload
try:
    files = {"model.safetensors": b"\\x00weights", "README.md": b"# card"}
    print(upload(files, "me/it", find_token(), True, "resnet20_bn"))
except ZooError as problem:
    print(problem)
"""


def test_the_upload_itself(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(token: str) -> str:
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path), "HF_TOKEN": token,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", UPLOAD], env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.strip()

    try:
        assert run("hf_right") == f"http://127.0.0.1:{server.server_port}/me/it/commit/abc"
        create = next(json.loads(body) for path, _, body in server.asked if path == "/api/repos/create")
        assert (create["name"], create["organization"]) == ("it", "me")
        commit = next(body for path, _, body in server.asked if path == "/api/models/me/it/commit/main")
        lines = [json.loads(line) for line in commit.splitlines()]
        sent = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        assert sent == {"model.safetensors": b"\x00weights", "README.md": b"# card"}
        refused = run("hf_wrong")
        assert refused.startswith("me/it: the upload failed: ")
        assert "\n" not in refused
        assert run("").startswith("no token of the hub is stored here: log in with `hf auth login`")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_every_norm(module_inline, tiny, figure) -> None:
    """Every built-in norm through torch.export and ONNX."""
    norms, folder = list(load_registry(None, folder=Path("/")).norms), module_inline.folder
    assert len(norms) >= 13
    images = datasets.load("shapes10").test.images[:COUNT]
    module_inline.ok("bench", *(f"resnet20_{norm}" for norm in norms), *tiny, *PLAIN, "--runs", "all")
    for norm in norms:
        (run,) = (folder / "all").glob(f"*/*/resnet20_{norm}/seed0")
        for to in ("torch-export", "onnx"):
            output = module_inline.ok("export", run, "--to", to)
            assert output.stderr == ""
            assert use_as_the_card_says(run / "export" / to) in load_result(run / "result.json").dataset.classes
            figure(f"{norm} as {to}", output.stdout.splitlines()[0].split("predictions, ")[1])
        check_onnx(open_run(run, load_registry(None)), run / "export" / "onnx", images)


@pytest.mark.slow
def test_real_images(module_inline, tiny) -> None:
    """A short run on cifar10-jpeg, which is called so wherever a figure is."""
    root = os.environ.get("ZOO_DATA", "")
    if not root or not (Path(root) / "cifar10-jpeg").is_dir():
        pytest.skip("no cifar10-jpeg in ZOO_DATA: no real images to test on")
    data = ("--dataset", "cifar10-jpeg", "--data-dir", root)
    module_inline.ok("bench", "resnet20_bn", *tiny, *PLAIN, *data, "--set", "split.train=1280", "--runs", "real")
    (run,) = (module_inline.folder / "real").glob("cifar10-jpeg/*/resnet20_bn/seed0")
    for to in ("safetensors", "torch-export", "onnx"):
        output = module_inline.ok("export", run, "--to", to, "--data-dir", root)
        assert "checked on 512 cifar10-jpeg test images: same predictions" in output.stdout
        card = ModelCard.load(run / "export" / to / "README.md")
        (told,) = card.data.eval_results
        assert (card.data.datasets, told.dataset_name, told.dataset_type) == (["cifar10-jpeg"], *["cifar10-jpeg"] * 2)
        named = re.findall(r"cifar10[\w-]*", card.text.split("## Limitations")[0])
        assert set(named) == {"cifar10-jpeg"}


@pytest.mark.parametrize(
    "name",
    ["../../{there}/.pre-commit-config", "{there}/x", ".pre-commit-config", "..", "", "a\nb", "a\x1b[2Jb", "a\\b"],
)
def test_row_1_a_name_in_a_result_is_no_path(benched, copied: Path, tmp_path: Path, name: str) -> None:
    """``recipe.name`` once led an export into another folder, where it overwrote a file with the result's words."""
    there = tmp_path / "elsewhere"
    there.mkdir()
    result = json.loads((copied / "result.json").read_text())
    result["recipe"]["name"] = name.format(there=there)
    save_edited(copied / "result.json", result)
    before = sorted(tmp_path.rglob("*"))
    for command in (("export", copied, "--to", "safetensors", "--out"), ("push", copied, "me/it", "--to-folder")):
        check_refused(benched.cli(*command, tmp_path / "out"), "result.json: recipe.name: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_row_1_an_export_writes_names_of_its_own_alone(benched, copied: Path, tmp_path: Path) -> None:
    result = json.loads((copied / "result.json").read_text())
    result["recipe"]["name"] = "mkdocs"
    save_edited(copied / "result.json", result)
    (tmp_path / "mkdocs.yaml").write_text("mine")
    benched.cli.ok("push", copied, "me/it", "--to-folder", tmp_path)
    assert (tmp_path / "mkdocs.yaml").read_text() == "mine"
