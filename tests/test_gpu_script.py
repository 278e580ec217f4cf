"""``benchmarks/gpu.py`` on a CPU at its tiny size: every kind of step, the summary, and going on."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from zoo.run_folder import find_results, load_all

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(out: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--device", "cpu", "--jobs", "1", "--out", out, *options],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_no_time_leaves_all_for_the_next_call_which_does_it_and_the_one_after_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out, "--minutes", "0.5").count("left for the next call") == 5
    assert not (out / "runs").exists()

    run(out)
    runs = load_all(find_results([out / "runs"]))
    assert sorted((item.result.model.name, item.result.seed) for item in runs) == [
        ("resnet20_bn", 0), ("resnet20_bn", 1), ("resnet20_ln", 0),
    ]  # fmt: skip
    (trial,) = load_all(find_results([out / "studies"]))
    assert not any(item.folder.weights.exists() for item in [*runs, trial])
    told = json.loads((out / "speed-resnet20.json").read_text())
    summary = (out / "summary.md").read_text()
    for item in told["models"]:
        assert f"| {item['model']} | {item['layout']} | {item['train_images_per_second']:,.0f} |" in summary
    for item in runs:
        assert item.result.model.name in summary
    held_out = f"| 2 | 0.05 | 0.0005 | {100 * trial.result.holdout.accuracy:.2f} |"
    assert f"| resnet20_ln | smoke-{trial.result.recipe.fingerprint[:8]} {held_out}" in summary
    with tarfile.open(out / "results.tar.gz") as archive:
        names = archive.getnames()
    for file in ("result.json", "history.csv", "predictions.npz"):
        assert sum(name.endswith(file) for name in names) == 4
    assert {"summary.md", "speed-resnet20.json"} <= set(names)

    assert run(out).count("done before") == 5


def test_a_second_call_that_is_cut_off_keeps_the_speeds_of_the_first(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # dataclasses look there
    spec.loader.exec_module(script)
    file = tmp_path / "speed-resnet18.json"
    for rates in ({"a": 1, "b": 2}, {"b": 3}):
        models = [{"model": name, "train_images_per_second": rate} for name, rate in rates.items()]
        script.keep({"environment": {}, "models": models}, file)
    told = json.loads(file.read_text())["models"]
    assert {item["model"]: item["train_images_per_second"] for item in told} == {"a": 1, "b": 3}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_a_signal_ends_it_with_a_summary_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--tiny", "--device", "cpu", "--jobs", "1", "--out", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        log = tmp_path / "logs" / "resnet20.txt"
        while not (log.exists() and "resnet20_bn" in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "resnet20: interrupted after" in said
    assert said.count("left for the next call") == 4
    assert (tmp_path / "summary.md").is_file()
    assert not [other for other in Path("/proc").glob("[0-9]*") if str(tmp_path) in where(other)]


def where(process: Path) -> str:
    """The working folder of a process, empty where it has ended or is another user's."""
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""
