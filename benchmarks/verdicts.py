"""How often verdicts are false, and what they find: ``python benchmarks/verdicts.py`` (an hour on two cores).

Accuracies are drawn, and go through :func:`zoo.comparison.verdict.judge`, as those of every table do. Each cell is
the share of tables with a false verdict where nothing differs, or the share of true differences that are found. A bound
holds where the share is at most two standard errors beyond it. Exit code 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from zoo.comparison.verdict import Sample, Verdict, judge, variance_of_flips

IMAGES = 10_000
SPREAD = 0.0049  # the standard deviation of a model's seeds: 0.49 points
SIZES, SEEDS, MOST = (2, 5, 13), (3, 5, 10), 10
FALSE, FALSE_NOISY_LOOKING = 0.06, 0.10
POWER_SEEDS, POINTS = (3, 5), (1, 2, 3)
POWER_BOUNDS = {(3, 2): 0.7, (3, 3): 0.9, (5, 2): 0.9}  # by seeds and points
NOISE = ("equal spreads", "unequal spreads", "t(3)", "skewed", "bimodal", "noisy baseline")
LOOKS = ("every row", "highest row", "highest row and baseline", "nearest row and baseline")


@dataclass(frozen=True)
class Cell:
    """One line of the output. `bound` is an upper one of false verdicts, a lower one of power."""

    what: str
    noise: str
    models: int
    seeds: str
    bound: float
    power: bool = False
    points: float = 0.0


@dataclass(frozen=True)
class Rate:
    """A cell with the share of its tables, or rows, that got a verdict."""

    cell: Cell
    tables: int
    share: float

    @property
    def holds(self) -> bool:
        """Whether the bound holds within two standard errors of the simulation."""
        error = math.sqrt(self.cell.bound * (1 - self.cell.bound) / self.tables)
        slack = 2 * error
        return self.share >= self.cell.bound - slack if self.cell.power else self.share <= self.cell.bound + slack


def cells() -> Iterator[Cell]:
    """All of them, in the order of the output."""
    for noise in NOISE:
        for models in SIZES:
            for seeds in SEEDS:
                for kind in ("", " or more"):
                    yield Cell("fixed", noise, models, f"{seeds}{kind}", FALSE)
            for look in LOOKS:
                bound = FALSE_NOISY_LOOKING if noise == "noisy baseline" else FALSE
                yield Cell(f"looking, {look}", noise, models, f"3 to {MOST}", bound)
    for seeds, points in itertools.product(POWER_SEEDS, POINTS):
        bound = POWER_BOUNDS.get((seeds, points), 0)
        yield Cell("power", "equal spreads", 13, str(seeds), bound, True, points / 100)


def draw(noise: str, models: int, random: np.random.Generator) -> np.ndarray:
    """Accuracies (models, :data:`MOST`) of models that do not differ; the first is the baseline."""
    shape = (models, MOST)
    match noise:
        case "t(3)":
            values = random.standard_t(3, shape) / math.sqrt(3)
        case "skewed":
            values = random.exponential(1, shape) - 1
        case "bimodal":
            values = np.where(random.random(shape) < 0.5, -1, 1) * math.sqrt(0.91) + 0.3 * random.standard_normal(shape)
        case _:
            values = random.standard_normal(shape)
    spreads = np.full(models, SPREAD)
    if noise == "unequal spreads":
        spreads = np.exp(random.uniform(math.log(0.001), math.log(0.01), models))
    if noise == "noisy baseline":
        spreads[0] *= 5
    return 0.9 + spreads[:, None] * values


def verdicts(accuracies: np.ndarray, seeds: list[int]) -> list[Verdict]:
    """The tests of all rows but the first against it, with the first `seeds` of each."""
    floor = variance_of_flips(IMAGES)
    samples = [Sample(tuple(row[:count]), floor) for row, count in zip(accuracies.tolist(), seeds, strict=True)]
    return judge(samples[0], samples[1:])


def looking(how: str, accuracies: np.ndarray) -> bool:
    """Whether somebody who adds seeds until there is a verdict finds one: see :data:`LOOKS`."""
    seeds = [3] * len(accuracies)
    while True:
        tests = verdicts(accuracies, seeds)
        if any(test.differs for test in tests):
            return True
        best = max if how.startswith("highest") else min
        row = 1 + best(range(len(tests)), key=lambda i: tests[i].difference if best is max else tests[i].p_value)
        grows = {"every row": range(len(seeds)), "highest row": [row]}.get(how, [0, row])
        if max(seeds[index] for index in grows) == MOST:
            return False
        for index in grows:
            seeds[index] += 1


def simulate(cell: Cell, tables: int) -> Rate:
    """The share of `tables` tables with a verdict (of power: of rows that truly differ)."""
    random = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    hits = 0.0
    for _ in range(tables):
        accuracies = draw(cell.noise, cell.models, random)
        if cell.what.startswith("looking"):
            hits += looking(cell.what.partition(", ")[2], accuracies)
            continue
        least = int(cell.seeds.split()[0])
        extra = cell.seeds.endswith("more")
        seeds = [min(MOST, least + (row % 3) * extra) for row in range(cell.models)]
        if cell.power:
            accuracies[1:] += cell.points
            hits += sum(test.differs for test in verdicts(accuracies, seeds)) / (cell.models - 1)
        else:
            hits += any(test.differs for test in verdicts(accuracies, seeds))
    return Rate(cell, tables, hits / tables)


def table(rates: Sequence[Rate]) -> str:
    """The Markdown table of docs/verdicts.md: for each noise and number of models the largest of each kind of cell."""
    kinds = ("fixed", *(f"looking, {look}" for look in LOOKS))
    lines = ["| noise | models | " + " | ".join(kinds) + " |", "| --- | --: |" + " --: |" * len(kinds)]
    for noise in NOISE:
        for models in SIZES:
            shares = [
                max(rate.share for rate in rates if (rate.cell.what, rate.cell.noise, rate.cell.models) == where)
                for where in ((kind, noise, models) for kind in kinds)
            ]
            lines.append(f"| {noise} | {models} | " + " | ".join(f"{100 * share:.2f}" for share in shares) + " |")
    lines += ["", "| true difference | " + " | ".join(f"{seeds} seeds" for seeds in POWER_SEEDS) + " |"]
    lines.append("| --- |" + " --: |" * len(POWER_SEEDS))
    for points in POINTS:
        found = {rate.cell.seeds: rate.share for rate in rates if rate.cell.power and rate.cell.points == points / 100}
        plural = "s" * (points != 1)
        lines.append(
            f"| {points} point{plural} | " + " | ".join(f"{100 * found[str(n)]:.1f}" for n in POWER_SEEDS) + " |"
        )
    return "\n".join(lines)


def read(path: Path) -> list[Rate]:
    """The cells that ``--json`` wrote."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [Rate(tables=cell.pop("tables"), share=cell.pop("share"), cell=Cell(**cell)) for cell in stored]


def work(task: tuple[Cell, int]) -> Rate:
    """For the processes of a pool."""
    return simulate(*task)


def main(arguments: list[str] | None = None) -> int:
    """Print every cell with its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=5000, help="per cell (default: 5000)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the cells to this file as well")
    parser.add_argument("--table", type=Path, help="simulate nothing; print the cells of this file as a Markdown table")
    options = parser.parse_args(arguments)
    if options.table:
        print(table(read(options.table)))
        return 0
    rates: list[Rate] = []
    with multiprocessing.Pool(options.processes) as pool:
        for rate in pool.imap(work, [(cell, options.tables) for cell in cells()]):
            rates.append(rate)
            cell = rate.cell
            sign = ">=" if cell.power else "<="
            what = f"{cell.what} {100 * cell.points:g} points" if cell.power else cell.what
            of = f"{cell.noise:<16} {cell.models:>2} models, {cell.seeds:>10} seeds"
            failure = "" if rate.holds else "  FAILS"
            print(f"{what:<36} {of}: {100 * rate.share:6.2f} % ({sign} {100 * cell.bound:g}){failure}", flush=True)
    failed = sum(not rate.holds for rate in rates)
    print(f"{len(rates)} cells of {options.tables} tables: {failed} beyond their bounds")
    if options.json:
        content = [asdict(rate.cell) | {"tables": rate.tables, "share": rate.share} for rate in rates]
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
