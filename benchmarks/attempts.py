"""Commands of zoo for one model after the other, each in a process of its own, and how each ended."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from zoo.cli.main import main as zoo_main
from zoo.engine import speed
from zoo.results.folder import find_results, load_all

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
DONE, REFUSED, BAD = "done", "refused", "bad"
SHOW, BENCH, EXPLAIN, EXPORT = "show", "bench", "explain", "export"
# What the commands import is imported once, before the processes are forked.
IMPORTED = (
    "albumentations", "timm", "captum.attr", "matplotlib.pyplot", "torch._dynamo", "torch.export", "zoo.runner.sweep",
    "zoo.render.comparison", "zoo.explain.make", "zoo.export.make",
)  # fmt: skip
# Bytes that a model's process may have.
MEMORY = int(os.environ.get("ZOO_TRIAL_GB", "8")) * 2**30


@dataclass(frozen=True)
class Outcome:
    """How a command ended for a model: done, refused in one line that names it, or anything else.

    `line` is that line, or what was done to norms and stem; `parameters` are those of a benched model; `commit` is
    the one of zoo's checkout, and is empty in lines written before it was kept.
    """

    model: str
    command: str
    kind: str
    line: str
    seconds: float
    parameters: int = 0
    commit: str = ""

    @property
    def row(self) -> str:
        """A line of a Markdown table."""
        return f"| {self.model} | {self.command} | {self.kind} | {self.seconds:.0f} | {self.line.replace('|', '/')} |"


HEAD = "| model | command | ended | s | line |\n| --- | --- | --- | --: | --- |"


class Record:
    """Outcomes by model and command, kept as lines of JSON in `file` where there is one."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file is not None and file.exists() else []
        self.outcomes = {(was["model"], was["command"]): Outcome(**was) for was in map(json.loads, lines)}
        git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
        self.commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()

    def add(self, outcome: Outcome) -> None:
        """Keep it, with the commit of zoo's checkout."""
        outcome = replace(outcome, commit=self.commit)
        self.outcomes[outcome.model, outcome.command] = outcome
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")

    def kept(self, model: str, commands: Iterable[str]) -> list[Outcome]:
        """Those of `commands` for `model` that are known, up to the first that is not or that did not succeed."""
        kept = []
        for command in commands:
            if (outcome := self.outcomes.get((model, command))) is not None:
                kept.append(outcome)
            if outcome is None or outcome.kind != DONE:
                break
        return kept


def write_images(folder: Path, classes: int) -> None:
    """``train/`` with a 32x32 image of noise for each of `classes`, ``test/`` for the first ten."""
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes if split == "train" else min(classes, 10)):
            path = folder / split / f"class{label:03d}" / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def carry_out(arguments: list[str], output: int) -> None:
    """``zoo`` with `arguments` in the working folder, which ends the process; both streams go to `output`."""
    for stream in (1, 2):
        os.dup2(output, stream)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    speed.INFERENCE_BATCHES = speed.INFERENCE_BATCHES_ON_ACCELERATORS = (1,)
    measure = speed.measure_inference
    speed.measure_inference = lambda _, *where: measure(nn.Flatten(), *where)
    zoo_main(arguments)


def outcome_of(model: str, command: str, arguments: list[str], seconds: float) -> Outcome:
    """Run the `command` for `model` in a process of its own, `seconds` at most."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        # Forked, so that torch is imported once.
        process = multiprocessing.get_context("fork").Process(target=carry_out, args=(arguments, output.fileno()))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        output.seek(0)
        text = output.read().decode(errors="replace")
    took = round(time.perf_counter() - began, 1)
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("zoo: ")]
    if process.exitcode == 0 and not errors:
        return Outcome(model, command, DONE, "; ".join(line for line in lines if line.startswith("norms: ")), took)
    one_line = process.exitcode == 2 and len(errors) == 1 and model in errors[0] and "Traceback" not in text
    last = errors[-1] if errors else lines[-1] if lines else f"nothing was printed, exit code {process.exitcode}"
    if process.exitcode == -9 and took >= seconds:
        last = f"still at work after {took:.0f} s"
    return Outcome(model, command, REFUSED if one_line else BAD, last.removeprefix("zoo: "), took)


def attempts(model: str, commands: list[str], record: Record, seconds: float) -> Iterator[Outcome]:
    """What the `commands` do for `model`, one after the other, until one does not succeed.

    An explanation and an export are of the run of a bench before them. What is on record is not done again where all
    of it is there.
    """
    kept = record.kept(model, commands)
    if len(kept) == len(commands) or (kept and kept[-1].kind != DONE):
        yield from kept
        return
    runs = Path("runs", model)
    shutil.rmtree(runs, ignore_errors=True)
    run, rest = "", {EXPLAIN: ["--images", "2"], EXPORT: ["--to", "torch-export"]}
    for command in commands:
        if command == BENCH:
            options = [model, "--recipe", "./step.yaml", "--dataset", "./images", "--runs", str(runs)]
        else:
            options = [model] if command == SHOW else [run, *rest[command]]
        outcome = outcome_of(model, command, [command, *options], seconds)
        if command == BENCH and outcome.kind == DONE:
            [stored] = load_all(find_results([runs]))
            run, about = str(stored.folder.path), stored.result.model
            outcome = Outcome(model, command, DONE, "; ".join(about.notes), outcome.seconds, about.parameters)
        record.add(outcome)
        yield outcome
        if outcome.kind != DONE:
            break
    shutil.rmtree(runs, ignore_errors=True)


@contextlib.contextmanager
def workplace(classes: int, checkout: Path | None = None) -> Iterator[None]:
    """A temporary working folder with images, the recipe and the files of `checkout`; with a cache of its own."""
    for module in IMPORTED:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place, "work")
        if checkout is None:
            folder.mkdir()
        else:
            shutil.copytree(checkout, folder, ignore=shutil.ignore_patterns(".git", "registry.yaml"))
        (folder / "step.yaml").write_text(RECIPE)
        write_images(folder / "images", classes)
        os.environ["ZOO_CACHE"] = str(Path(place, "cache"))
        stack.enter_context(contextlib.chdir(folder))
        yield
