"""Whether a training step gives on another device what it gives on the CPU: the kernels of some backends are wrong."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.builder.fairness import untouched
from zoo.engine.memory_format import LAYOUTS
from zoo.engine.optim import make_optimizer, set_lr
from zoo.engine.step import TrainStep
from zoo.errors import RegistryError
from zoo.registry.model import Model
from zoo.runner.answers import NEAR, finite
from zoo.runner.inputs import Inputs
from zoo.runner.trial import LARGER, LR
from zoo.utils.distributed import SINGLE_PROCESS, unsynchronised
from zoo.utils.seeding import derive, same_random_numbers, seed_all

CPU = torch.device("cpu")
LOSS = "the loss"
# Of a gradient's length. Rounding tips an activation over here and there, which changes 0.07 of it in float32.
NEAR_GRADIENT = 0.1
ROUNDINGS = 4  # as many times what the CPU's own rounding changes, in a lower precision
NEGLIGIBLE = 0.01  # of the mean length: the gradient of a bias in front of a norm is nothing but rounding
BATCHES = 3  # of which each has to differ

Step = Mapping[str, Tensor]


def disagreement(model: Model, inputs: Inputs) -> str:
    """What a step of `model` gives otherwise on the settings' device than on the CPU, in words; nothing where nothing.

    Each gradient is looked at in float32, and all as one in the recipe's precision, where that is lower: there rounding
    may change a single one by several times its length. Dropout is off, since each device draws its own numbers.
    A model that fails on the CPU too is none of this function's business.
    """
    words = ""
    for number in range(BATCHES):
        # What else the model's code does to torch, the trial will say.
        with same_random_numbers(), contextlib.suppress(RegistryError), untouched(model.name, "running"):
            words = _difference(model, inputs, number)
        if not words:
            break
    return words


def _difference(model: Model, inputs: Inputs, number: int) -> str:
    device, precision = inputs.settings.device, inputs.recipe.precision
    exact: Step = {}
    for kind in dict.fromkeys(("fp32", precision)):
        try:
            expected = _step(model, inputs, kind, CPU, number)
        except Exception:  # on any device, which the trial will say
            return ""
        try:
            there = _step(model, inputs, kind, device, number)
        except Exception as problem:  # an operation that the backend lacks
            return f"its training step ({kind}) fails: {' '.join(str(problem).split())[:200]}"
        if not all(map(finite, expected.values())):
            continue
        exact = exact or expected
        apart = abs(float(there[LOSS] - expected[LOSS]))
        if not apart <= NEAR[kind] * max(1.0, abs(float(expected[LOSS]))):
            return f"its loss ({kind}) is {float(there[LOSS]):.4g}, on the CPU {float(expected[LOSS]):.4g}"
        names, beyond = [name for name in exact if name != LOSS], dict[str, float]()
        for group in ([name] for name in names) if kind == "fp32" else [names]:
            share, rounding = (_share(step, exact, group, names) for step in (there, expected))
            if not share <= NEAR_GRADIENT + ROUNDINGS * rounding:
                beyond[f"the gradient of {group[0]!r}" if kind == "fp32" else "the gradient"] = share
        if beyond:
            worst = max(beyond, key=beyond.__getitem__)
            return f"{worst} ({kind}) is off from the CPU's by {beyond[worst]:.2g} times its length"
    return ""


def _share(step: Step, exact: Step, group: Sequence[str], names: Sequence[str]) -> float:
    """By what share of its length the gradient of a `group` of the parameters `names` differs from the `exact` one."""

    def mean_square(gradients: Step, of: Sequence[str]) -> float:
        count = sum(exact[name].numel() for name in of)
        return sum(float(gradients[name].square().sum()) for name in of) / max(1, count)

    apart = {name: step.get(name, torch.zeros(())) - exact[name] for name in group}
    least = NEGLIGIBLE**2 * mean_square(exact, names)
    return math.sqrt(mean_square(apart, group) / max(1e-60, least, mean_square(exact, group)))


def _step(model: Model, inputs: Inputs, precision: str, device: torch.device, number: int) -> Step:
    """Loss and gradients of a first step on random images, in float64 on the CPU."""
    recipe = inputs.recipe.model_copy(update={"precision": precision})
    module = unsynchronised(inputs.build(model, 0, device)).to(memory_format=LAYOUTS[inputs.layout(model)]).train()
    module.apply(_without_dropout)
    optimizer = make_optimizer(module, recipe.optimizer)
    set_lr(optimizer, min(LR, recipe.optimizer.lr))
    step = TrainStep(module, optimizer, recipe, device, distributed=SINGLE_PROCESS)
    step.scaler = torch.amp.GradScaler(device.type, enabled=False)  # it would leave some gradients scaled
    count = min(LARGER, recipe.batch_size)
    seed_all(derive("agreement", number))
    images = torch.randn(count, *inputs.train_shape).to(device, memory_format=LAYOUTS[inputs.layout(model)])
    loss, _ = step(images, (torch.arange(count) % inputs.dataset.num_classes).to(device), 0.5)
    gradients = {name: part.grad for name, part in module.named_parameters() if part.grad is not None}
    return {name: part.cpu().double() for name, part in {LOSS: loss, **gradients}.items()}


def _without_dropout(part: nn.Module) -> None:
    """Stochastic depth (timm's ``DropPath``) has its share in another attribute than torch's layers."""
    for name in ("p", "drop_prob"):
        if "drop" in type(part).__name__.lower() and isinstance(getattr(part, name, None), float):
            setattr(part, name, 0.0)
