"""How many networks of a public repository bench unchanged: ``python benchmarks/strangers.py CHECKOUT REGISTRY``.

CHECKOUT is a folder with the repository's files, REGISTRY a ``registry.yaml`` with a line for each of its builders
(``benchmarks/strangers/``). Each model runs ``zoo bench`` for one step on images of noise, in a process of its own. The
table says what each did, with the one line by which it was refused; then come the totals. Exit code 1 where one ended
neither in a result nor in a line that names it. The speed of inference is that of an empty network, to save time.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from zoo.cli.main import main as zoo_main
from zoo.engine import speed
from zoo.registry.entries import read_registry_file
from zoo.results.folder import find_results

RECIPE = """
description: "one step on images of noise"
extends: smoke
split: {holdout: 2, seed: 0, train: 4}
augment:
  train: [{Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}]
  eval: [{Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}]
epochs: 1
batch_size: 4
"""
BENCHED, REFUSED, BAD = "benched", "refused", "bad"


@dataclass(frozen=True)
class Outcome:
    """How one model ended: a result, one line that names it, or anything else; `line` is what it printed last."""

    model: str
    kind: str
    line: str
    seconds: float


def write_images(folder: Path, classes: int) -> None:
    """``train/`` with a 32x32 image of noise for each of `classes`, ``test/`` for the first ten."""
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes if split == "train" else min(classes, 10)):
            path = folder / split / f"class{label:03d}" / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def bench(model: str, output: int) -> None:
    """``zoo bench`` of `model` in the working folder, which ends the process; both streams go to `output`."""
    for stream in (1, 2):
        os.dup2(output, stream)
    torch.set_num_threads(1)
    speed.INFERENCE_BATCHES, measure = {"cpu": (1,), "cuda": (1,)}, speed.measure_inference
    speed.measure_inference = lambda _, *where: measure(nn.Flatten(), *where)
    zoo_main(["bench", model, "--recipe", "./step.yaml", "--dataset", "./images", "--runs", f"runs/{model}"])


def outcome_of(model: str, folder: Path, seconds: float) -> Outcome:
    """Run `model` in a process of its own, `seconds` at most."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        # Forked, so that torch is imported once.
        process = multiprocessing.get_context("fork").Process(target=bench, args=(model, output.fileno()))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        output.seek(0)
        text = output.read().decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("zoo: ")]
    last = errors[-1] if errors else lines[-1] if lines else f"nothing was printed, exit code {process.exitcode}"
    kind = BAD
    if process.exitcode == 0 and find_results([folder / "runs" / model]):
        kind = BENCHED
    elif process.exitcode == 2 and len(errors) == 1 and model in errors[0] and "Traceback" not in text:
        kind = REFUSED
    return Outcome(model, kind, "" if kind == BENCHED else last, time.perf_counter() - began)


def outcomes(
    checkout: Path, registry: Path, classes: int, patterns: list[str], norm: str, seconds: float
) -> Iterator[Outcome]:
    """What each model of `registry` does, in its order; with a `norm` in place of its own unless that is empty."""
    names = read_registry_file(registry, "").models
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "work")
        shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(".git", "registry.yaml"))
        shutil.copyfile(registry, folder / "registry.yaml")
        (folder / "step.yaml").write_text(RECIPE)
        write_images(folder / "images", classes)
        os.environ["ZOO_CACHE"] = str(Path(place, "cache"))
        os.chdir(folder)
        for name in names:
            if any(fnmatch(name, pattern) for pattern in patterns):
                yield outcome_of(f"{name}@{norm}" if norm else name, folder, seconds)


def main() -> int:
    """Print the table and the totals."""
    for module in ("albumentations", "zoo.runner.sweep", "zoo.render.comparison"):
        importlib.import_module(module)  # what a bench imports is imported once, before the processes are forked
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder with the repository's files")
    parser.add_argument("registry", type=Path, help="registry.yaml with a line for each builder")
    parser.add_argument("--classes", type=int, default=10, help="classes of the images")
    parser.add_argument("--model", action="append", help="name or pattern; may be repeated (default: all)")
    parser.add_argument("--norm", default="", help="swap each model's norms for this one")
    parser.add_argument("--seconds", type=float, default=600, help="the most that a model may take")
    chosen = parser.parse_args()
    checkout, registry = chosen.checkout.resolve(), chosen.registry.resolve()
    counts: Counter[str] = Counter()
    print("| model | ended | s | line |\n| --- | --- | --: | --- |", flush=True)
    for outcome in outcomes(checkout, registry, chosen.classes, chosen.model or ["*"], chosen.norm, chosen.seconds):
        counts[outcome.kind] += 1
        print(f"| {outcome.model} | {outcome.kind} | {outcome.seconds:.0f} | {outcome.line} |", flush=True)
    print(
        f"\n{checkout.name}: {counts[BENCHED]} of {counts.total()} bench a step, {counts[REFUSED]} are refused in one "
        f"line that names them, {counts[BAD]} end otherwise"
    )
    return 1 if counts[BAD] or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
