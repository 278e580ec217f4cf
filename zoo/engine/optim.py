"""Optimizer and learning rate, as the recipe states them; neither knows the model's name or its norm."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from zoo.errors import MachineError
from zoo.recipes import schema

Schedule = schema.Constant | schema.Cosine | schema.OneCycle | schema.Step | schema.Plateau


def make_optimizer(model: nn.Module, config: schema.SGD | schema.AdamW | schema.Muon) -> torch.optim.Optimizer:
    """The recipe's optimizer over `model`'s trainable parameters, in one or two groups that differ in weight decay.

    Norm scales and shifts and biases are the one-dimensional parameters; ``decay_norm_and_bias`` says whether decay
    reaches them. Raises :class:`MachineError` where Muon is asked for and timm is too old for it.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim > 1 or config.decay_norm_and_bias]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1 and not config.decay_norm_and_bias]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    # One fused kernel per step instead of one per parameter; both device kinds have it, but for complex numbers.
    fused = not any(parameter.is_complex() for parameter in parameters)
    if isinstance(config, schema.SGD):
        sgd = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
        # torch takes uninitialised memory for these in its first step, and leaves it so where fp16 overflows there.
        for parameter in matrices + vectors if config.momentum else ():
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    if isinstance(config, schema.AdamW):
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=fused)
    return _muon()(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        adjust_lr_fn="original",  # a step is as long for every filter, whatever the layer's width: one rate fits all
        fallback_lr_scale=config.adamw_lr_scale,
        betas=config.betas,
    )


def _muon() -> Callable[..., torch.optim.Optimizer]:
    import timm.optim  # half a second that no other recipe waits for

    kind: Callable[..., torch.optim.Optimizer] | None = getattr(timm.optim, "Muon", None)
    if kind is None or "fallback_lr_scale" not in inspect.signature(kind).parameters:
        raise MachineError(f"optimizer muon needs timm 1.0.27 or later, here is {timm.__version__}; update timm")
    return kind


def lr_factor(schedule: Schedule, epoch: float, epochs: int) -> float:
    """The learning rate at `epoch` (a real number: 1.5 is the middle of the second epoch) as a fraction of the peak.

    A closed form, so that a resumed run needs no scheduler state. ``plateau`` depends on losses: here it only warms up.
    """
    if isinstance(schedule, schema.OneCycle):
        if epoch < schedule.peak_epoch:
            return _line(schedule.initial_factor, 1.0, epoch / schedule.peak_epoch)
        return _line(1.0, schedule.final_factor, (epoch - schedule.peak_epoch) / (epochs - schedule.peak_epoch))
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    if isinstance(schedule, schema.Cosine):
        progress = (epoch - schedule.warmup_epochs) / (epochs - schedule.warmup_epochs)
        return _line(schedule.final_factor, 1.0, (1 + math.cos(math.pi * progress)) / 2)
    if isinstance(schedule, schema.Step):
        return float(schedule.factor ** sum(epoch >= milestone for milestone in schedule.milestones))
    return 1.0


def make_plateau(optimizer: torch.optim.Optimizer, config: schema.Plateau) -> ReduceLROnPlateau:
    """torch's scheduler with the recipe's numbers; it lowers the optimizer's learning rate."""
    return ReduceLROnPlateau(optimizer, factor=config.factor, patience=config.patience, threshold=config.threshold)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _line(start: float, end: float, progress: float) -> float:
    return start + (end - start) * min(max(progress, 0.0), 1.0)
