"""Averages of the weights over training, as a recipe may ask for one: an exponential moving average, or lookahead."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from zoo.recipes import schema
from zoo.recipes.recipe import Recipe


def make_average(model: nn.Module, recipe: Recipe) -> Ema | Lookahead | None:
    """The recipe's average of `model`'s parameters and floating-point buffers; None where it has none.

    ``update(done)`` is called after every step with the share of the training that lies behind, 0 to 1. `evaluated`
    holds the weights that are evaluated and stored.
    """
    if recipe.ema is not None:
        return Ema(model, recipe.ema)
    return Lookahead(model, recipe.lookahead) if recipe.lookahead is not None else None


class Ema:
    """An exponential moving average beside the weights, from the first step's on; training does not see it.

    What is no number with a fraction (BatchNorm's count of batches) is copied.
    """

    def __init__(self, model: nn.Module, config: schema.Ema) -> None:
        self.model, self.decay, self.steps = model, config.decay, 0
        self.evaluated = copy.deepcopy(model)

    def update(self, done: float) -> None:
        """Every step counts. Nothing here waits for the device."""
        _follow(self.evaluated, self.model, 1 - self.decay if self.steps else 1.0)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the count of steps, in the words of torch's ``AveragedModel``."""
        weights = {f"module.{name}": tensor for name, tensor in self.evaluated.state_dict().items()}
        return {"n_averaged": torch.tensor(self.steps), **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.steps = int(state["n_averaged"])
        weights = {name.removeprefix("module."): tensor for name, tensor in state.items() if name != "n_averaged"}
        self.evaluated.load_state_dict(weights)


def _follow(average: nn.Module, model: nn.Module, share: float) -> None:
    """Move every number of `average` by `share` of the way to that of `model`.

    What has no fraction is copied, and so is a number of a buffer or of a frozen parameter that is not finite.
    """
    mine, trained, constant = [], [], []
    with torch.no_grad():
        for averaged, current in zip(_tensors(average), _tensors(model), strict=True):
            if averaged.is_floating_point():
                mine.append(averaged.detach())
                trained.append(current.detach())
                if not current.requires_grad:
                    constant.append((averaged, current))
            else:
                averaged.copy_(current)
        torch._foreach_lerp_(mine, trained, share)  # pyright: ignore[reportPrivateImportUsage] no public name
        for averaged, current in constant:  # infinity less infinity is no number
            averaged.copy_(torch.where(averaged.isfinite(), averaged, current))


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers; a complex number is two."""
    tensors = (*model.parameters(), *model.buffers())
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]


class Lookahead:
    """Slow weights that follow the trained ones, which jump back to them every few steps.

    Zhang, Lucas, Hinton, Ba, "Lookahead Optimizer", arXiv:1907.08610, with the decay that grows over training of
    Jordan, arXiv:2404.00498: ``decay ** every * done ** power`` of the slow weights stays at each jump, next to nothing
    at first. Running statistics take part. The slow weights are what is evaluated and stored, as in both.
    """

    def __init__(self, model: nn.Module, config: schema.Lookahead) -> None:
        self.model, self.config, self.steps = model, config, 0
        self.evaluated = copy.deepcopy(model)

    def update(self, done: float) -> None:
        """Every ``config.every`` steps: the slow weights follow, the trained ones jump. Counts are copied."""
        self.steps += 1
        if self.steps % self.config.every:
            return
        stays = self.config.decay**self.config.every * done**self.config.power
        _follow(self.evaluated, self.model, 1 - stays)
        evaluated = _tensors(self.evaluated)
        with torch.no_grad():
            torch._foreach_copy_(_tensors(self.model), evaluated)  # pyright: ignore[reportPrivateImportUsage] no public name

    def state_dict(self) -> dict[str, Any]:
        """The slow weights and the count of steps."""
        return {"slow": self.evaluated.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.evaluated.load_state_dict(state["slow"])
        self.steps = state["steps"]
