"""``benchmarks/gpu.py`` on a CPU at its tiny size: every kind of step, the summary, and going on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from zoo.results.folder import find_results, load_all

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPT = BENCHMARKS / "gpu.py"
COMMAND = (sys.executable, SCRIPT, "--tiny", "--device", "cpu", "--jobs", "1", "--out")


def run(out: Path, *options: str) -> str:
    done = subprocess.run([*COMMAND, out, *options], capture_output=True, text=True, timeout=280)
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
        assert f"| {item['model']} | {item['layout']} | {item['train_images_per_second']:,.0f} (" in summary
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


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_speeds_are_measured_once_on_each_machine(script: ModuleType, tmp_path: Path) -> None:
    step = script.speed("tried", ["a", "b", "c"], "smoke", seconds=1, expected=1, data="shapes10")
    file = tmp_path / "speed-tried.json"

    def measured(gpu: str, *names: str) -> tuple[str, ...]:
        """What is left to measure after these."""
        script.keep({"environment": {"gpu": gpu}, "models": [{"model": name} for name in names]}, file)
        return script.lacking(step, tmp_path)

    assert script.lacking(step, tmp_path) == ("a", "b", "c")
    assert measured("one", "a") == ("b", "c")
    assert measured("one", "b") == ("c",)
    assert measured("another", "c") == ("a", "b")
    assert list(tmp_path.iterdir()) == [file]


def test_the_speeds_have_the_layouts_of_the_runs(script: ModuleType) -> None:
    plan = script.full_plan("cifar10-jpeg")
    assert all("--layout" not in step.arguments for step in plan.speeds + plan.large + plan.small)
    assert [step.arguments[1] for step in plan.large[:2]] == ["resnet18_bn", "resnet18_ln"]


def test_the_summary_has_the_accuracies_when_the_time_is_up(tmp_path: Path) -> None:
    kept = BENCHMARKS / "results" / "cifar10-jpeg" / "laptop-5ebfdb2c"
    for model in ("resnet20_bn", "resnet20_ln"):
        shutil.copytree(kept / model, tmp_path / "runs" / model)
    said = run(tmp_path, "--minutes", "0", "--jobs", "0")
    assert said.count("left for the next call") == 3  # the speeds and the large ones: of the small ones there are none
    summary = (tmp_path / "summary.md").read_text()
    assert "## Accuracy" in summary
    for runs in (load_all(find_results([tmp_path / "runs" / model])) for model in ("resnet20_bn", "resnet20_ln")):
        mean = sum(100 * item.result.test.accuracy for item in runs) / len(runs)
        assert f"{mean:.2f}" in next(line for line in summary.splitlines() if runs[0].result.model.name in line)


def test_a_negative_number_of_jobs_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, tmp_path, "--jobs", "-1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "gpu.py: error: --jobs -1: give 0 or more"


def test_what_a_killed_call_left_running_is_ended_by_the_next_one(tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, tmp_path], stdout=subprocess.PIPE) as process:
        wait_for(lambda: any(record.read_text() for record in (tmp_path / "running").glob("*")))
        process.kill()
    assert processes_in(tmp_path)
    mine = tmp_path / "running" / str(os.getpid())
    mine.write_text("1")  # a number that was given anew, to this process
    assert "ended what an earlier call had left running (1)\n" in run(tmp_path, "--minutes", "0")
    assert not processes_in(tmp_path)
    assert not list((tmp_path / "running").iterdir())


@pytest.mark.slow
def test_a_signal_ends_it_with_a_summary_and_the_next_call_measures_what_is_left(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "resnet20.txt"
    with subprocess.Popen([*COMMAND, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: log.exists() and "[2/2] resnet20_ln" in log.read_text())
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "resnet20: interrupted after" in said
    assert said.count("left for the next call") == 4
    assert "| resnet20_bn |" in (tmp_path / "summary.md").read_text()
    assert not processes_in(tmp_path)

    first = json.loads((tmp_path / "speed-resnet20.json").read_text())["models"]
    run(tmp_path)
    told = json.loads((tmp_path / "speed-resnet20.json").read_text())["models"]
    assert [item["model"] for item in told] == ["resnet20_bn", "resnet20_ln"]
    assert told[:1] == first


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """The numbers of the processes whose working folder it is."""
    return [process.name for process in Path("/proc").glob("[0-9]*") if str(folder) == where(process)]


def where(process: Path) -> str:
    """The working folder of a process, empty where it has ended or is another user's."""
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""
