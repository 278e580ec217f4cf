"""The real loop against its ceiling, for each norm, and each norm against BatchNorm."""

from __future__ import annotations

import pytest
import torch

from zoo.data.datasets import load
from zoo.engine.machine import choose_device, settle_precision
from zoo.engine.throughput import matrix_peak
from zoo.measure import Speed, measure
from zoo.recipe import load_recipe
from zoo.registry import load_registry
from zoo.settings import Settings

DEVICE = choose_device()
NORMS = tuple(load_registry().norms)
MEASURED: dict[str, Speed] = {}


def speed(model: str, recipe: str, seconds: float) -> Speed:
    """``zoo speed MODEL`` on generated images, whose content costs the same as any other."""
    wanted = load_recipe(recipe).with_precision(settle_precision(DEVICE))
    settings = Settings(DEVICE, "auto", "auto", 0, compiled=False, deterministic=False)
    data = load("shapes10")
    peak = matrix_peak(DEVICE, wanted.precision)
    return measure(load_registry().resolve(model), wanted, data, settings, seconds=seconds, peak_flops=peak)


@pytest.mark.parametrize(("model", "batch_seconds"), [("resnet20_bn", 20), ("resnet18_ln", 60)])
def test_efficiency(figure, model: str, batch_seconds: float) -> None:
    found = speed(model, "laptop", batch_seconds)
    least = 0.97 if DEVICE.type == "cpu" else 0.95
    figure(f"{model}: loop over ceiling, batch {found.batch_size}, {torch.get_num_threads()} threads, "
           f"{found.train_images_per_second:,.0f} img/s", found.efficiency, least=least)  # fmt: skip


@pytest.mark.parametrize("norm", NORMS)
def test_norms(benchmark, figure, norm: str) -> None:
    found = benchmark.pedantic(speed, (f"resnet20_{norm}", "laptop", 5.0), rounds=1)
    MEASURED[norm] = found
    benchmark.extra_info.update(train=found.train_images_per_second, step=found.step_images_per_second,
                                efficiency=found.efficiency, layout=found.layout)  # fmt: skip
    if "bn" in MEASURED:
        ratio = found.step_images_per_second / MEASURED["bn"].step_images_per_second
        figure(f"resnet20_{norm}: step {found.step_images_per_second:,.0f} img/s ({found.layout}), loop/step "
               f"{found.efficiency:.3f}; times BatchNorm's step", ratio, least=0.6)  # fmt: skip
