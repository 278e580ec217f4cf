"""What many stored runs cost: ``python benchmarks/scale.py`` (half an hour, and 2 GB of disk at a time).

It makes runs from the committed ones, as zoo writes them today, in three shapes: one table, a table for each ten runs,
and a machine for each model. For each command it prints the worst of the shapes, in CPU seconds (user and system) and
MiB of peak memory of the whole process, with the exponent by which each grows from one size to the next.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.recipes.recipe import fingerprint_of
from zoo.results.folder import RunFolder, as_text

COMMITTED = Path(__file__).parent / "results/cifar10-jpeg/laptop-9c06139e"
MODELS, STORED_SEEDS = ("resnet20_bn", "resnet20_ln", "resnet20_gn", "resnet20_ws_gn"), 3
SEEDS, RUNS_OF_A_TABLE = 5, 10
BASELINE = "baseline_bn"
SHAPES = ("one table", "N/10 tables", "a machine for each model")
SIZES = (1_000, 10_000, 100_000)
OUT = "report"
# By name: the command, and the largest size that it is measured at. A report of 100,000 runs has 200,000 files.
COMMANDS: dict[str, tuple[list[str], int]] = {
    "compare": (["compare", "runs"], 100_000),
    "compare --baseline": (["compare", "runs", "--baseline", BASELINE], 100_000),
    "compare --format json": (["compare", "runs", "--format", "json"], 100_000),
    "report": (["report", "runs", "--out", OUT], 10_000),
}


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    command: str
    shape: str
    runs: int
    seconds: float  # of CPU, user and system
    mebibytes: float


@dataclass(frozen=True)
class Template:
    """A committed run: its folder, and its result as text with names where copies differ."""

    folder: RunFolder
    text: str
    content: dict[str, Any]

    @classmethod
    def of(cls, model: str, seed: int) -> Template:
        """The template of a committed run."""
        folder = RunFolder(COMMITTED / model / f"seed{seed}")
        result = json.loads(folder.result.read_text(encoding="utf-8"))
        content = json.loads(json.dumps(result["recipe"]["content"]))
        result["seed"] = "@seed"
        result["model"]["name"] = "@model"
        result["model"]["definition"]["norm"]["kwargs"] = {"number": "@number"}
        result["recipe"]["fingerprint"] = "@fingerprint"
        result["recipe"]["content"]["optimizer"]["lr"] = "@lr"
        result["environment"]["cpu"] = "@cpu"
        result["test"]["loss"] = "@loss"
        return cls(folder, as_text(result) + "\n", content)

    def filled(self, **words: object) -> str:
        """The text of a copy."""
        text = self.text
        for name, word in words.items():
            text = text.replace(f'"@{name}"', json.dumps(word))
        return text


def make(root: Path, count: int, shape: str) -> None:
    """`count` runs in the folder `root`: five seeds of each model, of which each table has a baseline.

    Their predictions and histories are links to the committed ones.
    """
    templates = [[Template.of(model, seed) for seed in range(STORED_SEEDS)] for model in MODELS]
    links = _Links(root.with_name("shared"))
    in_table = RUNS_OF_A_TABLE if shape == "N/10 tables" else count
    for first in range(0, count, in_table):
        rate = 0.1 + first / 2**30
        content = templates[0][0].content
        fingerprint = fingerprint_of(content | {"optimizer": content["optimizer"] | {"lr": rate}})
        slug = f"laptop-{fingerprint[:8]}"
        for number in range(first, min(first + in_table, count)):
            model, seed = divmod(number, SEEDS)
            template = templates[model % len(MODELS)][seed % STORED_SEEDS]
            name = (
                BASELINE if number - first < SEEDS else f"model{model}_{MODELS[model % len(MODELS)].split('_', 1)[1]}"
            )
            folder = RunFolder.of(root, "cifar10-jpeg", slug, name, seed)
            folder.path.mkdir(parents=True)
            cpu = f"CPU {model}" if shape == "a machine for each model" else "CPU"
            loss = 0.4 + number / 2**24
            folder.result.write_text(
                template.filled(
                    seed=seed, model=name, number=model, fingerprint=fingerprint, lr=rate, cpu=cpu, loss=loss
                ),
                encoding="utf-8",
            )
            links.put(template.folder.history, folder.history)
            links.put(template.folder.predictions, folder.predictions)


class _Links:
    """Hard links to one copy of a file: a name each, and no more of the disk."""

    MOST = 60_000  # ext4 has at most 65,000 names of a file

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.copies: dict[Path, tuple[Path, int]] = {}
        self.number = 0

    def put(self, source: Path, target: Path) -> None:
        copy, names = self.copies.get(source, (None, self.MOST))
        if copy is None or names >= self.MOST:
            self.number += 1
            copy, names = self.folder / str(self.number), 0
            shutil.copyfile(source, copy)
        os.link(copy, target)
        self.copies[source] = copy, names + 1


def measure(arguments: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds and peak MiB of one ``zoo`` process and what it waits for. Raises ``RuntimeError`` where it fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    printed = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"zoo {' '.join(arguments)}: exit code {process.returncode}: {printed.decode()[-500:]}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10


def costs(folder: Path, sizes: list[int], shapes: list[str], commands: list[str]) -> Iterator[Cost]:
    """Of each command, at each size and shape; the runs of one shape and size are there at a time."""
    for count in sizes:
        for shape in shapes:
            place = folder / "many"
            shutil.rmtree(place, ignore_errors=True)
            make(place / "runs", count, shape)
            os.sync()  # else the first command that flushes a file writes all of these as well, at its own cost
            for name in commands:
                arguments, most = COMMANDS[name]
                if count <= most:
                    seconds, mebibytes = measure(arguments, place)
                    yield Cost(name, shape, count, seconds, mebibytes)
                    shutil.rmtree(place / OUT, ignore_errors=True)
            shutil.rmtree(place)


def table(measured: list[Cost]) -> str:
    """The worst of the shapes, a line for each command and size, with exponents from the size before."""
    lines = ["| command | runs | CPU s | exponent | MiB | exponent |", "| --- | --: | --: | --: | --: | --: |"]
    for command in dict.fromkeys(cost.command for cost in measured):
        before: tuple[int, float, float] | None = None
        for runs in sorted({cost.runs for cost in measured if cost.command == command}):
            of = [cost for cost in measured if (cost.command, cost.runs) == (command, runs)]
            worst = runs, max(cost.seconds for cost in of), max(cost.mebibytes for cost in of)
            times, sizes = (_exponent(before, worst, place) if before else "" for place in (1, 2))
            lines.append(f"| `{command}` | {runs:,} | {worst[1]:.2f} | {times} | {worst[2]:,.0f} | {sizes} |")
            before = worst
    return "\n".join(lines)


def _exponent(before: tuple[int, float, float], after: tuple[int, float, float], place: int) -> str:
    return f"{math.log(after[place] / before[place]) / math.log(after[0] / before[0]):.2f}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="how many runs (default: all three)")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--folder", type=Path, help="for the runs, which are removed (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write every measurement to this file as well")
    parser.add_argument("--make", action="store_true", help="only make the first size and shape, in --folder")
    options = parser.parse_args(arguments)
    if options.make:
        make(options.folder / "runs", options.sizes[0], options.shapes[0])
        return 0
    measured: list[Cost] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for cost in costs(Path(folder), options.sizes, options.shapes, options.commands):
            measured.append(cost)
            print(f"{cost.command}, {cost.shape}, {cost.runs:,} runs: {cost.seconds:.2f} s, {cost.mebibytes:,.0f} MiB",
                  flush=True)  # fmt: skip
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in measured], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
