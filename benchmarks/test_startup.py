"""What a user waits for before anything is computed: start-up, a large registry, a large folder of results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo.results.folder import load_result

RESULTS = Path(__file__).parent / "results"
ENTRIES, COPIES = 10_000, 10_000


def seconds(*arguments: str, folder: Path) -> float:
    """Wall time of one ``zoo`` process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "zoo", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@pytest.mark.parametrize("arguments", [("--help",), ("list",)], ids=" ".join)
def test_start(benchmark, figure, tmp_path, arguments) -> None:
    benchmark.pedantic(seconds, arguments, {"folder": tmp_path}, rounds=7, warmup_rounds=2)
    figure(f"zoo {' '.join(arguments)}, warm, median", benchmark.stats["median"], most=0.3, unit="s")


def test_large_registry(benchmark, figure, tmp_path) -> None:
    from zoo.registry.merge import load_registry

    lines = ["norms:"]
    lines += [f'  n{number}: {{builder: "my_norms:norm{number}", label: "Norm {number}"}}' for number in range(ENTRIES)]
    (tmp_path / "registry.yaml").write_text("\n".join(lines) + "\n")

    def load() -> None:
        assert f"n{ENTRIES - 1}" in load_registry(folder=tmp_path).norms

    benchmark.pedantic(load, rounds=5, warmup_rounds=1)
    figure(f"registry with {ENTRIES:,} entries, median", benchmark.stats["median"], most=0.5, unit="s")


def test_compare_many(benchmark, figure, tmp_path) -> None:
    source = load_result(next(RESULTS.rglob("result.json"))).model_dump(mode="json")
    for number in range(COPIES):
        model, seed = divmod(number, 5)
        source["seed"], source["model"]["name"] = seed, f"resnet20_n{model}"
        folder = tmp_path / "runs" / source["model"]["name"] / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(source, indent=1))
    benchmark.pedantic(seconds, ("compare",), {"folder": tmp_path}, rounds=3, warmup_rounds=1)
    figure(f"zoo compare over {COPIES:,} results, median", benchmark.stats["median"], most=3, unit="s")
