"""``zoo bench`` and ``zoo compare`` as a user meets them: real runs, tiny ones.

The runs that most tests read are a process' own; what is asked of them afterwards is answered in this process.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from printed_tables import of_text, table
from safetensors.numpy import load_file

FILES = {"result.json", "history.csv", "model.safetensors", "predictions.npz"}
MODELS = ("resnet20_bn", "resnet20_ln")


@pytest.fixture(scope="module")
def benched(module_cli, module_inline, tiny) -> SimpleNamespace:
    """Two models, benched once; tests that change something take a copy."""
    output = module_cli.ok("bench", *MODELS, *tiny)
    return SimpleNamespace(cli=module_inline, output=output, runs=module_cli.folder / "runs")


@pytest.fixture
def copied(inline_cli, benched):
    """The command line in a folder with a copy of those runs."""
    shutil.copytree(benched.runs, inline_cli.folder / "runs")
    return inline_cli


def run_folder(folder: Path, model: str, seed: int = 0) -> Path:
    """The one folder of this model and seed under `folder`/runs."""
    (found,) = (folder / "runs").glob(f"*/*/{model}/seed{seed}")
    return found


def load(folder: Path, model: str, seed: int = 0) -> dict[str, Any]:
    """Its result.json."""
    return json.loads((run_folder(folder, model, seed) / "result.json").read_text())


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file under `folder`: time and bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def expected_cells(result: dict[str, Any]) -> dict[str, str]:
    """What a row of a table for people has to say about one run."""
    speed = result["speed"]
    peak = speed["peak_memory_bytes"]  # which not every system reports
    return {
        "model": result["model"]["name"],
        "norm": result["model"]["norm"],
        "seeds": "1",
        "parameters": f"{result['model']['parameters']:,}",
        "MACs (M)": f"{result['model']['macs'] / 1e6:.1f}",
        "train img/s": f"{speed['train_images_per_second']:,.0f}",
        "inference img/s": f"{speed['inference_images_per_second']:,.0f}",
        "p50 ms": f"{1000 * speed['latency_p50']:.2f}",
        "p99 ms": f"{1000 * speed['latency_p99']:.2f}",
        "peak MiB": "-" if peak is None else f"{peak / 2**20:,.0f}",
    }


def check_rows(rows: list[dict[str, str]], folder: Path) -> None:
    """The rows are those of the stored results, the best first."""
    results = {model: load(folder, model) for model in MODELS}
    assert sorted(row["model"] for row in rows) == sorted(MODELS)
    accuracies = []
    for row in rows:
        result = results[row["model"]]
        # Of a speed without its quartiles and the mark that it may have.
        expected = {key: cell for key, cell in expected_cells(result).items() if key in row}
        assert {key: row[key].split()[0].rstrip("‡") for key in expected} == expected
        assert "train img/s" in expected
        accuracy, low, high = map(float, re.findall(r"[\d.]+", row["test accuracy %"]))
        assert accuracy == round(100 * result["test"]["accuracy"], 2)
        assert low < accuracy < high < low + 8  # of 1,000 images
        accuracies.append(accuracy)
    assert accuracies == sorted(accuracies, reverse=True)


def test_table(benched):
    text = benched.output.stdout
    check_rows(of_text(text), benched.cli.folder)
    usual = (
        r"shapes10, recipe smoke: 2 epochs, 64 images, batch size \d+, (bf16|fp32), (last epoch|best epoch on holdout)"
    )
    assert re.match(
        rf"{usual} \(smoke-[0-9a-f]{{8}}\) In all rows: seeds 1; parameters 269,722\.", " ".join(text.split())
    )
    assert "1 seed" in text
    assert "no winner is claimed" in text
    assert " 2/2 " in benched.output.stderr  # progress goes to stderr, so that the table can be piped


@pytest.mark.parametrize("model", MODELS)
def test_files(benched, model):
    folder = run_folder(benched.cli.folder, model)
    assert {path.name for path in folder.iterdir()} == FILES  # no state.pt, nothing temporary
    result = load(benched.cli.folder, model)
    assert result["schema_version"] == 3
    assert result["status"] == "finished"
    assert (result["epochs_trained"], result["seed"], result["resumes"]) == (2, 0, 0)
    assert folder.parent.parent.name == f"smoke-{result['recipe']['fingerprint'][:8]}"
    data = result["dataset"]
    assert (data["train_images"], data["holdout_images"], data["test_images"]) == (64, 32, 1000)
    assert result["settings"]["layout"] == "nchw"

    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["running_train_loss"]) == result["running_train_loss"]
    assert {row["eval_split"] for row in rows} == {"holdout"}

    weights = load_file(folder / "model.safetensors")
    statistics = sum(array.size for name, array in weights.items() if "running_" in name or "num_batches" in name)
    assert sum(array.size for array in weights.values()) - statistics == result["model"]["parameters"]

    with np.load(folder / "predictions.npz", allow_pickle=False) as told:
        assert set(told) == {"label", "predicted", "confidence"}
        confusion = np.zeros((10, 10), dtype=int)
        np.add.at(confusion, (told["label"], told["predicted"]), 1)
    assert confusion.tolist() == result["test"]["confusion"]
    assert confusion.trace() == result["test"]["correct"] == round(1000 * result["test"]["accuracy"])


def test_second_call_does_nothing(benched, tiny):
    before = snapshot(benched.runs)
    again = benched.cli.ok("bench", *MODELS, *tiny)
    assert snapshot(benched.runs) == before
    assert again.stdout == benched.output.stdout
    assert again.stderr.count("was done before") == 2
    assert " 1/2 " not in again.stderr


def test_same_command_elsewhere_gives_the_same_bits(zoo_cli, inline_cli, tiny):
    """With the layout left to the rule, as a user does: the clock must not decide the bits."""
    assert tiny[-2:] == ("--layout", "nchw")
    weights = []
    for name, cli in (("one", inline_cli), ("two", zoo_cli)):
        (zoo_cli.folder / name).mkdir()
        cli.ok("bench", "resnet20_bn", *tiny[:-2], cwd=zoo_cli.folder / name)
        weights.append((run_folder(zoo_cli.folder / name, "resnet20_bn") / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_restart_runs_again_to_the_same_bits(copied, tiny):
    folder = run_folder(copied.folder, "resnet20_bn")
    for made in ("explain/page.html", "export/onnx/model.onnx"):  # of the weights that are thrown away
        (folder / made).parent.mkdir(parents=True)
        (folder / made).touch()
    before, other = snapshot(folder), snapshot(run_folder(copied.folder, "resnet20_ln"))
    output = copied.ok("bench", "resnet20_bn", *tiny, "--restart")
    assert {path.name for path in folder.iterdir()} == FILES
    after = snapshot(folder)
    assert " 2/2 " in output.stderr
    assert set(after) == FILES
    assert all(after[name][0] > before[name][0] for name in FILES)
    assert after["model.safetensors"][1] == before["model.safetensors"][1]
    assert snapshot(run_folder(copied.folder, "resnet20_ln")) == other


def test_more_seeds_keep_what_is_done(copied, tiny):
    folder = run_folder(copied.folder, "resnet20_ln")
    before = snapshot(folder)
    output = copied.ok("bench", "resnet20_ln", *tiny, "--seeds", "2")
    assert output.stderr.count("was done before") == 1
    assert snapshot(folder) == before
    first, second = (run_folder(copied.folder, "resnet20_ln", seed) / "model.safetensors" for seed in (0, 1))
    assert first.read_bytes() != second.read_bytes()
    (row,) = of_text(output.stdout)
    accuracies = [load(copied.folder, "resnet20_ln", seed)["test"]["accuracy"] for seed in (0, 1)]
    mean, half = (float(part) for part in row["test accuracy %"].split(" ± "))
    assert mean == pytest.approx(50 * sum(accuracies), abs=0.006)
    # Student's t with one degree of freedom is 12.706 at 97.5 %.
    assert half == pytest.approx(12.7062 * 100 * abs(accuracies[0] - accuracies[1]) / 2, abs=0.006)
    assert row["seeds"] == "2"
    assert "Student t" in output.stdout


def test_several_seeds_are_tested_against_the_first_model(copied, tiny):
    """The columns of ``zoo compare --baseline``, also where a seed ran on another machine."""
    seeds = ("--seeds", "2")
    output = copied.ok("bench", *MODELS, *tiny, *seeds)
    assert output.stdout == copied.ok("compare", "--baseline", MODELS[0]).stdout
    assert "In all rows: seeds 2; parameters 269,722." in output.stdout
    shown = {row["model"]: row["verdict"] for row in of_text(output.stdout)}
    assert shown == {MODELS[0]: "baseline", MODELS[1]: "needs 3 seeds"}
    file = run_folder(copied.folder, MODELS[0], 1) / "result.json"
    elsewhere = json.loads(file.read_text())
    elsewhere["environment"]["cpu"] = "another"
    file.write_text(json.dumps(elsewhere))
    rows = {row["model"]: row for row in of_text(copied.ok("bench", *MODELS, *tiny, *seeds).stdout)}
    assert {name: row["verdict"] for name, row in rows.items()} == shown
    assert rows[MODELS[0]]["machine"][1:] == "+"


def copy_run(folder: Path, seed: int, wrong: int, model: str) -> None:
    """The first run of `folder` again, as another seed of `model` that has `wrong` more images wrong."""
    place = folder.parents[1] / model / f"seed{seed}"
    place.mkdir(parents=True, exist_ok=True)
    content = json.loads((folder / "result.json").read_text())
    content["model"]["name"], content["seed"], test = model, seed, content["test"]
    matrix = np.array(test["confusion"])
    hits = np.diag(np.diag(matrix))
    label, predicted = divmod(int((hits if wrong > 0 else matrix - hits).argmax()), 10)
    matrix[label][label] -= wrong
    matrix[label][predicted if wrong < 0 else (label + 1) % 10] += wrong
    test["confusion"] = matrix.tolist()
    test["correct"] -= wrong
    test["accuracy"] = test["correct"] / test["images"]
    content["git"] = None  # whatever the state of this checkout
    (place / "result.json").write_text(json.dumps(content))
    if place != folder:
        shutil.copy(folder / "history.csv", place)


def test_bench_tests_its_models_among_all_runs_of_the_folder(copied, tiny):
    """Its p is that of ``zoo compare --model``, whatever else was benched there, and only its models are shown."""
    for model in MODELS:
        first = run_folder(copied.folder, model)
        for seed, wrong in ((0, 0), (1, 3), (2, -3)):
            copy_run(first, seed, wrong, model)
        for other in "xyz":
            for seed in range(3):
                copy_run(first, seed, 2 * seed, f"{model}_{other}")
    output = copied.ok("bench", *MODELS, *tiny, "--seeds", "3")
    chosen = [word for model in MODELS for word in ("--model", model)]
    assert output.stdout == copied.ok("compare", "--baseline", MODELS[0], *chosen).stdout
    assert {row["model"] for row in of_text(output.stdout)} == set(MODELS)
    assert "corrected for 7 rows" in " ".join(output.stdout.split())
    # Seeds that were benched before count, too.
    again = copied.ok("bench", *MODELS, *tiny, "--seed", "1")
    assert again.stdout == output.stdout
    # Where the folder cannot be read, what was asked for is shown all the same.
    (copied.folder / "runs" / "result.json").write_text("{")
    alone = copied.ok("bench", *MODELS, *tiny)
    assert "zoo: only this command's runs, not tested: runs/result.json" in alone.stderr
    assert "In all rows: seeds 1;" in alone.stdout


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_compare_for_people(benched, style):
    names = "norm,accuracy,seeds,parameters,macs,train_images_per_second,inference_images_per_second"
    columns = ("--columns", f"{names},latency_p50,latency_p99,peak_memory_bytes")
    output = benched.cli.ok("compare", *columns, "--format", style)
    assert output.stderr == ""
    check_rows(table(output.stdout, style), benched.cli.folder)
    if style == "text":
        assert benched.cli.ok("compare").stdout == benched.output.stdout


@pytest.mark.parametrize("style", ["csv", "json"])
def test_compare_for_programs(benched, style):
    """Every figure comes back whole, not rounded."""
    text = benched.cli.ok("compare", "--format", style).stdout
    if style == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        intervals = [(float(row["interval_low"]), float(row["interval_high"])) for row in rows]
        groups = rows
    else:
        groups = json.loads(text)
        (group,) = groups
        rows = group["rows"]
        intervals = [tuple(row["interval"]) for row in rows]
    assert [row["model"] for row in rows if row["model"] in MODELS] == [row["model"] for row in rows]
    for row, (low, high) in zip(rows, intervals, strict=True):
        result = load(benched.cli.folder, row["model"])
        assert float(row["accuracy"]) == result["test"]["accuracy"]
        assert low < result["test"]["accuracy"] < high
        for key in ("parameters", "macs"):
            assert int(row[key]) == result["model"][key]
        for key in ("train_images_per_second", "inference_images_per_second", "latency_p50", "latency_p99"):
            assert float(row[key]) == result["speed"][key]
        peak = row["peak_memory_bytes"]
        assert (int(peak) if peak else None) == result["speed"]["peak_memory_bytes"]
    for group in groups:
        assert (group["dataset"], group["recipe"], group["selection"]) == ("shapes10", "smoke", "holdout")
        assert group["recipe_fingerprint"] == result["recipe"]["fingerprint"]


def test_compare_chooses(benched):
    (row,) = of_text(benched.cli.ok("compare", "--model", "*_ln", "--recipe", "smoke").stdout)
    assert row["model"] == "resnet20_ln"
    output = benched.cli("compare", "--recipe", "smok")
    assert (output.returncode, output.stdout, len(output.lines)) == (2, "", 1)
    assert "did you mean 'smoke'" in output.stderr


def test_other_recipes_are_not_ranked_together(copied, tiny):
    copied.ok("bench", "resnet20_bn", *tiny, "--set", "optimizer.lr=0.01", "--set", "epochs=1", "--set",
              "schedule.peak_epoch=0.5")  # fmt: skip
    groups = json.loads(copied.ok("compare", "--format", "json").stdout)
    assert sorted(len(group["rows"]) for group in groups) == [1, 2]
    assert len({group["recipe_fingerprint"] for group in groups}) == 2
    assert copied.ok("compare").stdout.count("recipe smoke: ") == 2


def test_diverged_run_is_recorded_and_shown(inline_cli, tiny):
    command = ("bench", "resnet20_bn", *tiny, "--set", "optimizer.lr=1e30")
    output = inline_cli.ok(*command)
    result = load(inline_cli.folder, "resnet20_bn")
    assert (result["status"], result["diverged_epoch"]) == ("diverged", 1)
    assert result["test"] is None
    assert result["holdout"] is None
    assert result["speed"]["latency_p50"] is None  # missing is null, never 0
    files = {path.name for path in run_folder(inline_cli.folder, "resnet20_bn").iterdir()}
    assert files == {"result.json"}  # no epoch was finished
    (row,) = of_text(output.stdout)
    assert row["test accuracy %"] == "seed 0 diverged at epoch 1"
    assert of_text(inline_cli.ok("compare", "--columns", "latency_p50").stdout)[0]["p50 ms"] == "-"
    assert "diverged at epoch 1" in output.stderr
    again = inline_cli.ok(*command)
    assert again.stdout == output.stdout
    assert "was done before" in again.stderr
    (group,) = json.loads(inline_cli.ok("compare", "--format", "json").stdout)
    assert group["rows"][0]["diverged"] == {"0": 1}
    assert group["rows"][0]["accuracy"] is None


def test_workers_change_nothing(inline_cli, tiny, figure):
    """The albumentations executor in this process, in one other and in four: byte-identical weights."""
    weights = []
    for workers in ("0", "1", "4"):
        folder = inline_cli.folder / workers
        folder.mkdir()
        inline_cli.ok("bench", "resnet20_ln", *tiny, "--executor", "albumentations", "--workers", workers, cwd=folder)
        settings = load(folder, "resnet20_ln")["settings"]
        assert (settings["executor"], settings["workers"]) == ("albumentations", int(workers))
        weights.append((run_folder(folder, "resnet20_ln") / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]
    figure("worker counts with the same bytes", "0, 1 and 4")


def test_a_norm_of_ones_own(inline_cli, tiny):
    """One line of YAML and one function; and an edited function is another model."""
    (inline_cli.folder / "registry.yaml").write_text('norms:\n  mine: "my_norm:mine"\n')
    code = (
        "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm(num_channels // {}, num_channels)\n"
    )
    (inline_cli.folder / "my_norm.py").write_text(code.format(4))
    command = ("bench", "resnet20_mine", *tiny)
    (row,) = of_text(inline_cli.ok(*command).stdout)
    assert (row["model"], row["parameters"]) == ("resnet20_mine", "269,722")
    before = snapshot(inline_cli.folder / "runs")

    (inline_cli.folder / "my_norm.py").write_text(code.format(2))
    output = inline_cli(*command)
    assert output.returncode == 2
    assert output.stdout == ""
    assert "Traceback" not in output.stderr
    assert [line for line in output.lines if line.startswith("zoo: ")] == [output.lines[-1]]
    for part in ("runs/shapes10/smoke-", "another definition of resnet20_mine", "--restart", "--runs"):
        assert part in output.lines[-1]
    assert snapshot(inline_cli.folder / "runs") == before
