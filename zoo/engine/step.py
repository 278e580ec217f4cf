"""One optimisation step: what the training loop repeats and what the speed measurements time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.engine.average import make_average
from zoo.engine.evaluate import autocast
from zoo.recipes.recipe import Recipe
from zoo.utils.distributed import Distributed


class TrainStep:
    """Forward, loss, backward, clip, update, average.

    `network` is `model`, parallel over the processes of `distributed` where there are several, and compiled where
    asked for.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        device: torch.device,
        *,
        distributed: Distributed,
        compiled: bool = False,
    ) -> None:
        self.model = model
        parallel = distributed.wrap(model, device)
        self.network = torch.compile(parallel) if compiled else parallel
        self.optimizer = optimizer
        self.device = device
        self.precision = recipe.precision
        self.clip_grad_norm = recipe.clip_grad_norm
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.loss.label_smoothing)
        # fp16 gradients underflow without scaling; bf16 has the range of fp32 and needs none.
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.average = make_average(model, recipe)

    def __call__(self, images: Tensor, labels: Tensor, done: float, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """Train on (B, C, H, W) `images` and (B,) `labels`; the loss and the number of hits stay on the device.

        `done` is the share of the whole training that lies behind after this step, for the average. `weight`:
        :meth:`zoo.utils.distributed.Distributed.loss_weight` of this process' share of the batch; the loss that is
        returned is without it.
        """
        with autocast(self.device, self.precision):
            logits = self.network(images)
            loss = self.criterion(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss if weight == 1 else loss * weight).backward()
        if self.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(done)
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    @property
    def parts(self) -> dict[str, Any]:
        """All that a step changes, by its name in :class:`zoo.engine.checkpoint.SavedState`."""
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler, "averaged": self.average}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are evaluated and stored: the average where the recipe keeps one."""
        return self.average.evaluated if self.average is not None else self.model
