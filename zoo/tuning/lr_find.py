"""The learning rate range test (Smith, 2017, arXiv:1506.01186): a short training whose learning rate only rises.

Smith raises it evenly and reads the accuracy. As in the fastai library (Howard & Gugger, 2020, arXiv:2002.04688) it
rises here by a constant factor, and what is read is the smoothed training loss, which one step gives for nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from zoo.data.loader import TrainLoader
from zoo.engine import memory_format
from zoo.engine.convolution import use_side_by_side
from zoo.engine.machine import configure_arithmetic
from zoo.engine.optim import make_optimizer, set_lr
from zoo.engine.step import TrainStep
from zoo.errors import Option, RecipeError
from zoo.registry.model import Model
from zoo.runner.inputs import Inputs
from zoo.runner.settings import machine_faults
from zoo.utils.seeding import derive, seed_all

SMOOTHING = 0.95  # weight of the past in the mean loss, about the last twenty steps
BEGINNING = 0.1  # of the steps: their mean is of few losses, so they are no more than what the others are held against
DIVERGED = 1.1  # times the highest smoothed loss of the beginning: the model is worse than untrained, the test ends
SHARE = 0.1  # of the rate at which it diverged


@dataclass(frozen=True)
class RangeTest:
    """One model's test. `rates` and `losses` (smoothed, nats) are by step; `diverged` is the rate that ended it.

    The first `beginning` steps are not judged.
    """

    model: str
    beginning: int
    rates: list[float]
    losses: list[float]
    diverged: float | None

    @property
    def steepest(self) -> float | None:
        """Where the smoothed loss falls fastest with the logarithm of the rate; None where it never falls."""
        reach = max(1, self.beginning // 2)  # a slope over neighbours alone would be noise
        last = min(self.losses.index(min(self.losses)), len(self.losses) - 1 - reach)
        falls = [
            (self.losses[step + reach] - self.losses[step - reach], step) for step in range(self.beginning, last + 1)
        ]
        slope, step = min(falls, default=(0.0, 0))
        return self.rates[step] if slope < 0 else None

    @property
    def share(self) -> float | None:
        """:data:`SHARE` of the rate at which the loss diverged; None where it did not."""
        return None if self.diverged is None else SHARE * self.diverged


def rates_of(low: float, high: float, steps: int) -> list[float]:
    """`steps` learning rates from `low` to `high`, each the same factor above the one before."""
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def lr_find(
    model: Model,
    inputs: Inputs,
    *,
    low: float,
    high: float,
    steps: int,
    seed: int,
) -> RangeTest:
    """Train `model` on the recipe's own batches for up to `steps` steps.

    Reads training images only, neither held-out nor test images, and stores nothing. Works in one process. Raises
    :class:`~zoo.errors.RecipeError` where the loss diverges at once, and as
    :func:`~zoo.runner.settings.machine_faults` does for what the machine or the model's code does.
    """
    with machine_faults(model.name, inputs.settings, "give the command again", "training"):
        return _lr_find(model, inputs, low, high, steps, seed)


def _lr_find(model: Model, inputs: Inputs, low: float, high: float, steps: int, seed: int) -> RangeTest:
    recipe, settings, device = inputs.recipe, inputs.settings, inputs.settings.device
    configure_arithmetic(settings.deterministic)
    module = inputs.build(model, seed)
    layout = inputs.layout(model)
    module = module.to(memory_format=memory_format.LAYOUTS[layout])
    use_side_by_side(module, device, recipe.precision, settings.compiled)
    loader = inputs.train_loader(layout, seed)
    optimizer = make_optimizer(module, recipe.optimizer)
    step = TrainStep(module, optimizer, recipe, device, distributed=settings.distributed, compiled=settings.compiled)
    module.train()
    seed_all(derive("layers", seed, 0))
    rates, losses = rates_of(low, high, steps), []
    beginning = max(2, round(BEGINNING * steps))
    mean, diverged = 0.0, None
    try:
        for number, (rate, (images, labels)) in enumerate(zip(rates, _batches(loader), strict=False), 1):
            set_lr(optimizer, rate)
            loss = step(images, labels, number / steps)[0].item()
            if not math.isfinite(loss):
                diverged = rate
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            losses.append(mean / (1 - SMOOTHING**number))  # as if the past had not begun with a loss of 0
            if number > beginning and losses[-1] > DIVERGED * max(losses[:beginning]):
                diverged = rate
                break
    finally:
        loader.close()
    if len(losses) <= beginning:
        raise RecipeError(
            f"{model.name}: its loss is no number at a learning rate of {diverged:g} already; begin lower, as in ",
            Option("low", f"{(diverged or low) / 1000:g}"),
        )
    return RangeTest(model.name, beginning, rates[: len(losses)], losses, diverged)


def _batches(loader: TrainLoader) -> Iterator[tuple[Tensor, Tensor]]:
    return itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())
