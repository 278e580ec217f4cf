"""The real loop against its ceiling, for each norm, and each norm's step against BatchNorm's."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from processes import Asked

from zoo.builder.construct import build
from zoo.data.datasets import load
from zoo.engine.convolution import use_side_by_side
from zoo.engine.machine import choose_device, resolve_precision, synchronize
from zoo.engine.memory_format import LAYOUTS
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.engine.throughput import Training
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.registry.merge import load_registry
from zoo.runner.inputs import Inputs
from zoo.runner.measure import train
from zoo.runner.settings import Settings
from zoo.utils.distributed import SINGLE_PROCESS

DEVICE = choose_device()
REGISTRY = load_registry()
NORMS = tuple(REGISTRY.norms)
RECIPES = {
    name: load_recipe(name, ["split.holdout=500"]).with_precision(resolve_precision(DEVICE))
    for name in ("laptop", "standard", "fast")
}
RECIPE = RECIPES["laptop"]
ROUNDS = 7
BIG = 128 if RECIPE.precision == "fp32" else 256  # images of a step whose memory the system's allocator gives back
# Says how long a step took, whenever it is asked; its memory is kept or is not.
OWN_PROCESS = """
import sys, time
from processes import answer
from test_training import BIG, DEVICE, a_step
from zoo.engine.machine import configure_threads
from zoo.engine.memory import configure_allocator

configure_threads()
if sys.argv[1] == "kept":
    configure_allocator(DEVICE)
step = a_step("resnet18_bn", "channels_last", BIG)

def seconds():
    start = time.perf_counter()
    step()
    return time.perf_counter() - start

answer(seconds)
"""


def trained(name: str, seconds: float, recipe: Recipe = RECIPE) -> tuple[str, Training]:
    """``zoo speed`` without inference, on generated images, whose content costs the same; the layout comes first."""
    settings = Settings(DEVICE, None, "auto", 0, compiled=False, deterministic=False)
    model = REGISTRY.resolve(name)
    _, found = train(model, Inputs(recipe, load("shapes10"), settings), model.layout, seconds)
    return model.layout, found


# A GPU waits for its host where a step is short, so it is given the batches that its users train on.
LOOPS = (
    [("resnet20_bn", 20, "laptop"), ("resnet18_ln", 40, "laptop")]
    if DEVICE.type == "cpu"
    else [("resnet20_bn", 20, "standard"), ("resnet18_ln", 20, "standard"), ("airbench94_bn", 20, "fast")]
)


@pytest.mark.parametrize(("model", "seconds", "recipe"), LOOPS)
def test_efficiency(figure, model: str, seconds: float, recipe: str) -> None:
    wanted = RECIPES[recipe]
    _, found = trained(model, seconds, wanted)
    least = 0.97 if DEVICE.type == "cpu" else 0.94
    figure(f"{model}: loop over ceiling, batch {wanted.batch_size}, {torch.get_num_threads()} threads, "
           f"{found.train_images_per_second:,.0f} img/s", found.efficiency, least=least)  # fmt: skip


@pytest.mark.parametrize("norm", NORMS)
def test_loop_of_each_norm(benchmark, figure, norm: str) -> None:
    layout, found = benchmark.pedantic(trained, (f"resnet20_{norm}", 2.0), rounds=1)
    benchmark.extra_info.update(
        train=found.train_images_per_second,
        step=found.step_images_per_second,
        efficiency=found.efficiency,
        layout=layout,
    )
    figure(
        f"resnet20_{norm}: loop {found.train_images_per_second:,.0f} img/s ({layout}), over its ceiling",
        found.efficiency,
    )


def a_step(name: str, layout: str, batch_size: int = RECIPE.batch_size) -> Callable[[], None]:
    """One training step of the model `name` on one resident batch, warmed up."""
    model = build(REGISTRY.resolve(name)).to(DEVICE, memory_format=LAYOUTS[layout]).train()
    use_side_by_side(model, DEVICE, RECIPE.precision, compiled=False)
    step = TrainStep(model, make_optimizer(model, RECIPE.optimizer), RECIPE, DEVICE, distributed=SINGLE_PROCESS)
    images = torch.randn(batch_size, 3, 32, 32, device=DEVICE).contiguous(memory_format=LAYOUTS[layout])
    labels = torch.zeros(batch_size, dtype=torch.int64, device=DEVICE)
    step(images, labels, 0.5)

    def run() -> None:
        step(images, labels, 0.5)
        synchronize(DEVICE)

    return run


def test_no_norm_is_slow(benchmark, figure) -> None:
    """All norms in both layouts take turns, so that a slow moment meets all; each counts in its better layout."""
    steps = {(norm, layout): a_step(f"resnet20_{norm}", layout) for norm in NORMS for layout in LAYOUTS}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for _ in range(2 * ROUNDS):
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[key].append(time.perf_counter() - start)
    benchmark.pedantic(steps["bn", "channels_last"], rounds=3)
    rates = {key: RECIPE.batch_size / statistics.median(taken) for key, taken in seconds.items()}

    def faster(one: tuple[str, str], other: tuple[str, str]) -> float:
        """How many times as fast `one` is, round by round: a moment that is slow for a round says nothing."""
        return statistics.median(b / a for a, b in zip(seconds[one], seconds[other], strict=True))

    bn = "bn", max(LAYOUTS, key=lambda layout: faster(("bn", layout), ("bn", "nchw")))
    best = {norm: max(faster((norm, layout), bn) for layout in LAYOUTS) for norm in NORMS}
    benchmark.extra_info["norms"] = {
        norm: {layout: rates[norm, layout] for layout in LAYOUTS} | {"of_bn": best[norm]} for norm in NORMS
    }
    missed = []
    for norm in NORMS:
        words = " ".join(f"{layout} {rates[norm, layout]:,.0f}" for layout in LAYOUTS)
        try:
            figure(f"resnet20_{norm}: step, img/s: {words}; times BatchNorm's", best[norm], least=0.6)
        except AssertionError as problem:  # show all before failing
            missed.append(str(problem))
    assert not missed


@pytest.mark.skipif(DEVICE.type != "cpu" or RECIPE.precision != "bf16", reason="for processors with bf16 alone")
def test_small_maps(benchmark, figure, monkeypatch) -> None:
    """The step with small maps side by side, and with all convolutions torch's own, take turns."""
    steps = []
    for flags in ({"amx_bf16"}, set()):  # where zoo would use it, and where not, whatever this processor has
        monkeypatch.setattr("zoo.engine.convolution.cpu_flags", lambda flags=flags: flags)
        steps.append(a_step("resnet18_bn", "channels_last", 128))
    mine, theirs = steps

    def turn() -> float:
        """How many times as long torch's own takes."""
        seconds = []
        for step in (theirs, mine):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        return seconds[0] / seconds[1]

    turn()  # finds places in memory
    ratios = [turn() for _ in range(ROUNDS)]
    benchmark.pedantic(turn, rounds=1)
    benchmark.extra_info["ratios"] = ratios
    figure("resnet18_bn: step with small maps side by side, batch 128, over torch's own",
           statistics.median(ratios))  # fmt: skip


@pytest.mark.skipif(DEVICE.type != "cpu", reason="a GPU's memory has an allocator of torch's own")
def test_freed_memory_kept(benchmark, figure) -> None:
    """Two processes take turns, step by step, since the allocator is one to a process."""
    with contextlib.ExitStack() as processes:
        given_back, kept = (
            processes.enter_context(contextlib.closing(Asked("-c", OWN_PROCESS, memory)))
            for memory in ("given back", "kept")
        )

        def turn() -> float:
            """How many times as long the step of the first takes."""
            return given_back() / kept()

        ratios = [turn() for _ in range(2 + 5)][2:]  # the first steps find their places in memory
        benchmark.pedantic(turn, rounds=1)
        benchmark.extra_info["ratios"] = ratios
    figure(f"resnet18_bn: step with freed memory kept, batch {BIG}, over the system's allocator as it is",
           statistics.median(ratios))  # fmt: skip
