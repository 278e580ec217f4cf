"""The real loop against its ceiling, for each norm, and each norm's step against BatchNorm's."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from zoo.builder import build
from zoo.data.datasets import load
from zoo.engine.machine import choose_device, settle_precision, synchronize
from zoo.engine.optim import make_optimizer
from zoo.engine.speed import LAYOUTS
from zoo.engine.step import TrainStep
from zoo.engine.throughput import matrix_peak
from zoo.measure import Speed, measure
from zoo.recipe_file import load_recipe
from zoo.registry import load_registry
from zoo.settings import Settings
from zoo.world import ALONE

DEVICE = choose_device()
REGISTRY = load_registry()
NORMS = tuple(REGISTRY.norms)
RECIPE = load_recipe("laptop", ["split.holdout=500"]).with_precision(settle_precision(DEVICE))
ROUNDS = 7


def speed(model: str, seconds: float) -> Speed:
    """``zoo speed MODEL`` on generated images, whose content costs the same as any other."""
    settings = Settings(DEVICE, "auto", "auto", 0, compiled=False, deterministic=False)
    peak = matrix_peak(DEVICE, RECIPE.precision)
    return measure(REGISTRY.resolve(model), RECIPE, load("shapes10"), settings, seconds=seconds, peak_flops=peak)


@pytest.mark.parametrize(("model", "seconds"), [("resnet20_bn", 20), ("resnet18_ln", 40)])
def test_efficiency(figure, model: str, seconds: float) -> None:
    found = speed(model, seconds)
    least = 0.97 if DEVICE.type == "cpu" else 0.95
    figure(f"{model}: loop over ceiling, batch {found.batch_size}, {torch.get_num_threads()} threads, "
           f"{found.train_images_per_second:,.0f} img/s", found.efficiency, least=least)  # fmt: skip


@pytest.mark.parametrize("norm", NORMS)
def test_loop_of_each_norm(benchmark, figure, norm: str) -> None:
    found = benchmark.pedantic(speed, (f"resnet20_{norm}", 2.0), rounds=1)
    benchmark.extra_info.update(train=found.train_images_per_second, step=found.step_images_per_second,
                                efficiency=found.efficiency, layout=found.layout)  # fmt: skip
    figure(f"resnet20_{norm}: loop {found.train_images_per_second:,.0f} img/s ({found.layout}), over its ceiling",
           found.efficiency)  # fmt: skip


def a_step(norm: str, layout: str) -> Callable[[], None]:
    """One training step of resnet20 on one resident batch, warmed up."""
    model = build(REGISTRY.resolve(f"resnet20_{norm}")).to(DEVICE, memory_format=LAYOUTS[layout]).train()
    step = TrainStep(model, make_optimizer(model, RECIPE.optimizer), RECIPE, DEVICE, world=ALONE)
    images = torch.randn(RECIPE.batch_size, 3, 32, 32, device=DEVICE).contiguous(memory_format=LAYOUTS[layout])
    labels = torch.zeros(RECIPE.batch_size, dtype=torch.int64, device=DEVICE)
    step(images, labels, 0.5)

    def run() -> None:
        step(images, labels, 0.5)
        synchronize(DEVICE)

    return run


def test_no_norm_is_slow(benchmark, figure) -> None:
    """All norms in both layouts take turns, so that a slow moment meets all; each counts in its better layout."""
    steps = {(norm, layout): a_step(norm, layout) for norm in NORMS for layout in LAYOUTS}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for _ in range(ROUNDS):
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[key].append(time.perf_counter() - start)
    benchmark.pedantic(steps["bn", "channels_last"], rounds=3)
    rates = {key: RECIPE.batch_size / sorted(taken)[ROUNDS // 2] for key, taken in seconds.items()}
    best = {norm: max(LAYOUTS, key=lambda layout, norm=norm: rates[norm, layout]) for norm in NORMS}
    missed = []
    for norm in NORMS:
        rate = rates[norm, best[norm]]
        words = " ".join(f"{layout} {rates[norm, layout]:,.0f}" for layout in LAYOUTS)
        try:
            figure(
                f"resnet20_{norm}: step, img/s: {words}; times BatchNorm's", rate / rates["bn", best["bn"]], least=0.6
            )
        except AssertionError as problem:  # show all before failing
            missed.append(str(problem))
    assert not missed
