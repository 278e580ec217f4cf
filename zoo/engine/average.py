"""Averages of the weights over training, as a recipe may ask for one: an exponential moving average, or lookahead."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo import recipe_sections as schema
from zoo.recipe import Recipe


class Average(Protocol):
    """Looked after by every step. `evaluated` holds the weights that count."""

    evaluated: nn.Module

    def update(self, done: float) -> None:
        """A step was taken; `done` is the share of the training that lies behind, 0 to 1."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


def make_average(model: nn.Module, recipe: Recipe) -> Average | None:
    """The recipe's, over `model`'s parameters and floating-point buffers; None where it has none."""
    if recipe.ema is not None:
        return Ema(model, recipe.ema)
    return Lookahead(model, recipe.lookahead) if recipe.lookahead is not None else None


class Ema:
    """torch's exponential moving average beside the weights; training does not see it."""

    def __init__(self, model: nn.Module, config: schema.Ema) -> None:
        self.model = model
        self.averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.decay), use_buffers=True)
        self.evaluated = self.averaged.module
        self.state_dict, self.load_state_dict = self.averaged.state_dict, self.averaged.load_state_dict

    def update(self, done: float) -> None:
        """Every step counts."""
        self.averaged.update_parameters(self.model)


class Lookahead:
    """Slow weights that follow the trained ones, which jump back to them every few steps.

    Zhang, Lucas, Hinton, Ba, "Lookahead Optimizer", arXiv:1907.08610, with the decay that grows over training of
    Jordan, arXiv:2404.00498: ``decay ** every * done ** power`` of the slow weights stays at each jump, next to nothing
    at first. Running statistics take part.
    """

    def __init__(self, model: nn.Module, config: schema.Lookahead) -> None:
        self.evaluated, self.config, self.steps = model, config, 0
        self.slow = [tensor.detach().clone() for tensor in self._weights()]

    def update(self, done: float) -> None:
        """Every ``config.every`` steps: the slow weights follow, the trained ones jump."""
        self.steps += 1
        if self.steps % self.config.every:
            return
        stays = self.config.decay**self.config.every * done**self.config.power
        weights = self._weights()
        with torch.no_grad():
            torch._foreach_lerp_(self.slow, weights, 1 - stays)
            torch._foreach_copy_(weights, self.slow)

    def _weights(self) -> list[Tensor]:
        return [tensor for tensor in self.evaluated.state_dict().values() if tensor.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        """The slow weights and the count of steps."""
        return {"slow": self.slow, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for mine, saved in zip(self.slow, state["slow"], strict=True):
            mine.copy_(saved)
        self.steps = state["steps"]
