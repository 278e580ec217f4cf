"""The memory formats of a model, NCHW and channels-last, and which of them trains faster on this machine."""

from __future__ import annotations

import copy
import functools
import statistics
from collections.abc import Callable

import torch
from torch import nn

from zoo.engine.convolution import use_side_by_side
from zoo.engine.machine import seconds_of
from zoo.engine.optim import make_optimizer
from zoo.engine.step import TrainStep
from zoo.recipes.recipe import Recipe
from zoo.registry.entries import Layout
from zoo.utils.distributed import SINGLE_PROCESS, unsynchronised
from zoo.utils.stats import is_disturbed, quartiles

LAYOUTS: dict[Layout, torch.memory_format] = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
LAYOUT_BATCH = 32  # enough work to tell the layouts apart, little enough to take a second or two on a CPU
LAYOUT_TURNS = 5


def faster_layout(
    model: nn.Module, recipe: Recipe, device: torch.device, image_shape: tuple[int, int, int]
) -> tuple[Layout, float] | None:
    """The layout in which a copy of `model` trains faster here, and how many times as fast as in the other.

    None where the turns' ratios are too far apart to say so (:func:`zoo.utils.stats.is_disturbed`).

    The layouts take turns and the median of the turns' ratios counts, so that a machine that slows down slows both, and
    one that is twice as fast for a moment (a shared one may be) speaks for neither.
    """
    batch = min(recipe.batch_size, LAYOUT_BATCH if device.type == "cpu" else recipe.batch_size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, *image_shape, generator=generator).to(device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    steps: list[Callable[[], object]] = []
    for layout in LAYOUTS.values():
        twin = unsynchronised(copy.deepcopy(model)).to(memory_format=layout).train()
        use_side_by_side(twin, device, recipe.precision, compiled=False)
        step = TrainStep(twin, make_optimizer(twin, recipe.optimizer), recipe, device, distributed=SINGLE_PROCESS)
        steps.append(functools.partial(step, images.contiguous(memory_format=layout), labels, 0.5))
    turns = [[seconds_of(step, device) for step in steps] for _ in range(1 + LAYOUT_TURNS)]
    # The first step of each allocates and picks kernels.
    ratios = [nchw / channels_last for nchw, channels_last in turns[1:]]
    ratio = statistics.median(ratios)
    if is_disturbed(ratio, quartiles(ratios)):
        return None
    return ("channels_last", ratio) if ratio > 1 else ("nchw", 1 / ratio)
