"""The training loop, read from top to bottom. It knows a module and a recipe, and the name of no model or norm."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.loader import EvalLoader, TrainLoader
from zoo.engine.checkpoint import save_state
from zoo.engine.evaluate import evaluate
from zoo.engine.machine import synchronize
from zoo.engine.optim import lr_factor, make_optimizer, make_plateau, set_lr
from zoo.engine.reporter import Reporter
from zoo.engine.step import TrainStep
from zoo.recipes.recipe import Recipe
from zoo.results.folder import RunFolder
from zoo.results.history import EpochRow, save_history
from zoo.utils.distributed import Distributed
from zoo.utils.seeding import derive

WINDOWS_PER_EPOCH = 10  # the device is synchronised, the bar moved and the loss looked at this often, not every step


@dataclass(frozen=True)
class Diverged:
    """Where the loss stopped being a number. `epoch` and `step` count from 1."""

    epoch: int
    step: int


@dataclass
class Outcome:
    """What :func:`train` leaves. `weights` are the selected epoch's, on the CPU; None when it diverged before one."""

    history: list[EpochRow]
    weights: dict[str, Tensor] | None
    selected_epoch: int | None
    window_rates: list[float]  # images per second of each window, the first of each session left out
    resumes: int
    diverged: Diverged | None = None


@dataclass(frozen=True)
class Batches:
    """The loaders of one run: `selection` reads the split that the recipe chooses on, None where there is none."""

    train: TrainLoader
    selection: EvalLoader | None


@dataclass
class _Progress:
    """What a resumed run needs besides tensors."""

    epoch: int = 0  # epochs done
    history: list[EpochRow] = field(default_factory=list)
    window_rates: list[float] = field(default_factory=list)
    resumes: int = 0
    best_epoch: int | None = None
    best_value: float | None = None


def train(
    model: nn.Module,
    recipe: Recipe,
    batches: Batches,
    *,
    seed: int,
    device: torch.device,
    compiled: bool,
    distributed: Distributed,
    state: dict[str, Any] | None,
    folder: RunFolder,
    identity: dict[str, Any],
    reporter: Reporter,
) -> Outcome:
    """Train `model` in place by `recipe`, going on from `state` when given, saving to `folder` after every epoch.

    `identity` says what run this is and is saved with the state. Every random number comes from (`seed`, epoch,
    position), so a resumed run repeats what an uninterrupted one would have done. Every process of `distributed` takes
    its share of each batch and holds the same weights; the first alone evaluates and saves, and tells the others.
    Raises :class:`zoo.errors.MachineError` when the state cannot be saved.
    """
    optimizer = make_optimizer(model, recipe.optimizer)
    step = TrainStep(model, optimizer, recipe, device, distributed=distributed, compiled=compiled)
    plateau = make_plateau(optimizer, recipe.schedule) if recipe.schedule.name == "plateau" else None
    # The plateau scheduler lowers this; the closed-form schedules leave it at the recipe's peak.
    peak = recipe.optimizer.lr
    progress, best_weights = _Progress(), None

    if state is not None:
        progress = _Progress(**state["progress"])
        progress.history = [EpochRow(**row) for row in state["progress"]["history"]]
        progress.resumes += 1
        best_weights, peak = state["best_weights"], state["peak"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step.scaler.load_state_dict(state["scaler"])
        if step.average is not None:
            step.average.load_state_dict(state["averaged"])
        if plateau is not None:
            plateau.load_state_dict(state["plateau"])
        reporter.resumed(progress.epoch, recipe.epochs)

    steps = len(batches.train)
    window = max(1, steps // WINDOWS_PER_EPOCH)
    diverged: Diverged | None = None
    skip_window = True  # the first window of a session warms up caches, allocators and compilers

    for epoch in range(progress.epoch, recipe.epochs):
        model.train()
        # For dropout and the like; the order of the data and the augmentation need no global state.
        torch.manual_seed(derive("layers", seed, epoch) + distributed.rank)
        loss_sum = torch.zeros((), device=device)
        hits = torch.zeros((), dtype=torch.int64, device=device)
        seen = seen_before_window = 0
        rates: list[float] = []
        start = window_start = time.perf_counter()

        for index, (images, labels) in enumerate(batches.train.epoch(epoch), 1):
            lr = peak * lr_factor(recipe.schedule, epoch + (index - 0.5) / steps, recipe.epochs)
            set_lr(optimizer, lr)
            size = batches.train.size(index - 1)  # of the whole batch; `labels` are this process' share
            loss, correct = step(
                images, labels, (epoch + index / steps) / recipe.epochs, distributed.loss_weight(len(labels), size)
            )
            loss_sum += loss * len(labels)
            hits += correct
            seen += size

            if index % window == 0 or index == steps:
                synchronize(device)
                now = time.perf_counter()
                rate = (seen - seen_before_window) / (now - window_start)
                if not skip_window:
                    rates.append(rate)
                skip_window = False
                mean_loss, accuracy = (
                    distributed.all_reduce(loss_sum).item() / seen,
                    distributed.all_reduce(hits).item() / seen,
                )
                if not math.isfinite(mean_loss):
                    diverged = Diverged(epoch + 1, index)
                    break
                reporter.window(epoch + 1, recipe.epochs, index, steps, mean_loss, accuracy, rate)
                seen_before_window, window_start = seen, time.perf_counter()

        if diverged:
            break
        train_seconds = time.perf_counter() - start
        progress.window_rates += rates

        start = time.perf_counter()
        told = None
        if batches.selection is not None and distributed.is_main:
            evaluation = evaluate(step.evaluated, batches.selection, device, recipe.precision, recipe.tta)
            told = (evaluation.loss, evaluation.accuracy) if evaluation.finite else (math.nan, math.nan)
        eval_loss, eval_accuracy = distributed.broadcast(told) or (None, None)
        # The loss of the last step is older than its update, which may be the one that ruins the weights.
        if not _finite(step.evaluated) or (eval_loss is not None and math.isnan(eval_loss)):
            diverged = Diverged(epoch + 1, steps)
            break
        if plateau is not None and epoch + 1 >= recipe.schedule.warmup_epochs:
            set_lr(optimizer, peak)  # what the scheduler lowers
            plateau.step(eval_loss)
            peak = optimizer.param_groups[0]["lr"]
        row = EpochRow(
            epoch=epoch + 1,
            lr=lr,
            train_loss=mean_loss,
            train_accuracy=accuracy,
            eval_split=recipe.selection.split if eval_loss is not None else None,
            eval_loss=eval_loss,
            eval_accuracy=eval_accuracy,
            train_images_per_second=statistics.median(rates) if rates else seen / train_seconds,
            train_seconds=train_seconds,
            eval_seconds=time.perf_counter() - start,
        )
        progress.history.append(row)
        progress.epoch = epoch + 1

        # A larger value is better, so a loss counts negatively. The first of equals stays.
        rose_from, saved = progress.best_value, False
        if recipe.selection.rule == "best":
            value = row.eval_accuracy if recipe.selection.metric == "accuracy" else -row.eval_loss
            saved = progress.best_value is None or value > progress.best_value
        if saved:
            progress.best_epoch, progress.best_value = epoch + 1, value
            best_weights = _copy(step.evaluated)

        if not distributed.is_main:
            continue
        save_history(folder.history, progress.history)  # first: a state that is saved has its history
        save_state(
            folder.state,
            {
                "identity": identity,
                "progress": asdict(progress),
                "peak": peak,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": step.scaler.state_dict(),
                "averaged": step.average.state_dict() if step.average is not None else None,
                "plateau": plateau.state_dict() if plateau is not None else None,
                "best_weights": best_weights,
            },
        )
        reporter.epoch(row, recipe.epochs, rose_from, saved)

    if recipe.selection.rule == "last" and not diverged:
        progress.best_epoch, best_weights = progress.epoch, _copy(step.evaluated)
    return Outcome(
        history=progress.history,
        weights=best_weights,
        selected_epoch=progress.best_epoch,
        window_rates=progress.window_rates,
        resumes=progress.resumes,
        diverged=diverged,
    )


def _finite(model: nn.Module) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


def _copy(model: nn.Module) -> dict[str, Tensor]:
    """The state dict on the CPU, no longer tied to the model."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
