"""``benchmarks/gpu.py`` on a CPU at its tiny size: every kind of step, the summary, and going on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.run_folder import find_results, load_all

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(out: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--tiny", "--device", "cpu", "--out", out, *options],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_no_time_leaves_all_for_the_next_call_which_does_it_and_the_one_after_nothing(tmp_path: Path) -> None:
    first = run(tmp_path / "out", "--minutes", "0.5")
    assert first.count("left for the next call") == 2
    assert not (tmp_path / "out" / "runs").exists()

    run(tmp_path / "out")
    runs = load_all(find_results([tmp_path / "out" / "runs"]))
    assert sorted((item.result.model.name, item.result.seed) for item in runs) == [
        ("resnet20_bn", 0), ("resnet20_bn", 1), ("resnet20_ln", 0), ("resnet20_ln", 1),
    ]  # fmt: skip
    assert not any(item.folder.weights.exists() for item in runs)
    told = json.loads((tmp_path / "out" / "speed-resnet20.json").read_text())
    summary = (tmp_path / "out" / "summary.md").read_text()
    for item in told["models"]:
        assert f"| {item['model']} | {item['train_images_per_second']:,.0f} |" in summary
    for item in runs:
        assert item.result.model.name in summary
    assert "needs 3 seeds" in summary
