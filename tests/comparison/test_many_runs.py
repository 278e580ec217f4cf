"""Comparisons of many runs: their cost grows with the runs and not with the square of them."""

from __future__ import annotations

import cProfile
import math
import pstats
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from made_results import compare, result

from zoo.comparison.groups import Group
from zoo.comparison.verdict import Sample, judge
from zoo.render.comparison import render
from zoo.render.shown import Shown
from zoo.results.schema import Result

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import scale
from scale import BASELINE, SHAPES, make

SEEDS = 4
WAYS: dict[str, Callable[[int], dict[str, object]]] = {
    "one table": lambda model: {},
    "N/8 tables": lambda model: {"recipe__content__epochs": 1 + model // 2},
    "a machine for each model": lambda model: {"environment__cpu": f"CPU {model}"},
    "a commit for each model": lambda model: {"git": {"commit": f"{model:040x}", "dirty": False}},
}


def made(count: int, way: str) -> list[Result]:
    """Models that differ, so that each has a verdict of its own; every table has a baseline."""
    return [
        result("base" if model % 2 == 0 and (way == "N/8 tables" or model == 0) else f"m{model}", seed,
               8_000 + 37 * (model % 29) + 11 * seed, **WAYS[way](model))
        for model in range(count // SEEDS) for seed in range(SEEDS)
    ]  # fmt: skip


def calls(action: Callable[[], object]) -> int:
    """Functions called, those written in C too: the same number each time, however busy the machine is."""
    profile = cProfile.Profile()
    profile.runcall(action)
    return pstats.Stats(profile).total_calls


@pytest.mark.parametrize("way", WAYS)
def test_compare_calls_as_many_functions_as_there_are_runs(way: str) -> None:
    def tables(runs: list[Result]) -> None:
        groups: list[Group] = compare(runs, "base")
        for style in ("text", "csv"):
            render(groups, style, Shown("differences"))

    few, many = made(100, way), made(400, way)
    tables(few)  # what is worked out once
    assert math.log(calls(lambda: tables(many)) / calls(lambda: tables(few)), 4) < 1.05


def test_one_model_with_many_seeds_on_many_machines() -> None:
    few, many = (
        [result("m_bn", seed, environment__cpu=f"CPU {seed}") for seed in range(count)] for count in (100, 400)
    )
    compare(few)
    assert math.log(calls(lambda: compare(many)) / calls(lambda: compare(few)), 4) < 1.1  # it sorts


def test_100_000_runs_compare_was_quadratic_in_the_rows_of_a_table() -> None:
    """It took 74 s and 3.8 GB. Each row kept a list of all that remained."""

    samples = [Sample((0.8 + row % 61 / 1000, 0.82, 0.84), 1e-6) for row in range(3_000)]
    tracemalloc.start()
    judge(Sample((0.7, 0.71, 0.72), 1e-6), samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * 2**20


@pytest.mark.parametrize("shape", SHAPES)
def test_the_runs_of_the_benchmark_are_valid_to_every_reader(zoo_cli, shape: str) -> None:
    make(zoo_cli.folder / "runs", 40, shape)
    tables = zoo_cli.ok("compare", "runs", "--baseline", BASELINE, "--seconds-to", "50").stdout
    assert tables.count("cifar10-jpeg, recipe laptop: ") == (4 if shape == "N/10 tables" else 1)
    assert tables.count("(n=5)") == (4 if shape == "N/10 tables" else 7)
    machines = {line for line in tables.splitlines() if line.startswith("Machine ")}
    assert (len(machines) > 7) == (shape == "a machine for each model")


def test_the_benchmark_prints_the_worst_of_the_shapes() -> None:
    measured = [
        scale.Cost("compare", shape, runs, runs / 1000 + len(shape), 100.0) for shape in SHAPES for runs in (10, 1000)
    ]
    assert scale.table(measured).splitlines()[2:] == [
        "| `compare` | 10 | 24.01 |  | 100 |  |", "| `compare` | 1,000 | 25.00 | 0.01 | 100 | 0.00 |",
    ]  # fmt: skip
