"""The training loop, read from top to bottom. It knows a module and a recipe, and no name of a model or norm."""

from __future__ import annotations

import copy
import math
import statistics
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo.data.loader import EvalLoader, TrainLoader
from zoo.engine.checkpoint import Identity, Progress, SavedState, check_parts
from zoo.engine.evaluate import evaluate
from zoo.engine.optim import lr_factor, make_optimizer, make_plateau, set_lr
from zoo.engine.reporter import Reporter
from zoo.engine.saving import Saver
from zoo.engine.step import TrainStep
from zoo.errors import Option, ResultError
from zoo.recipes.recipe import Recipe
from zoo.recipes.schema import Plateau
from zoo.results.folder import RunFolder
from zoo.results.history import EpochRow, save_history
from zoo.utils.device import synchronize
from zoo.utils.seeding import derive, seed_all


@dataclass(frozen=True)
class Diverged:
    """Where the loss stopped being a number. `epoch` and `step` count from 1."""

    epoch: int
    step: int


@dataclass
class Outcome:
    """What :func:`train` leaves. `weights` are the selected epoch's, on the CPU; None when it diverged before one."""

    progress: Progress
    weights: dict[str, Tensor] | None
    diverged: Diverged | None


@dataclass(frozen=True)
class Batches:
    """The loaders of one run: `selection` reads the split that the recipe chooses on, None where there is none."""

    train: TrainLoader
    selection: EvalLoader | None


def train(
    model: nn.Module,
    recipe: Recipe,
    batches: Batches,
    *,
    device: torch.device,
    compiled: bool,
    state: SavedState | None,
    folder: RunFolder,
    identity: Identity,
    reporter: Reporter,
) -> Outcome:
    """Train `model` in place by `recipe`, resuming from `state` where there is one, saving to `folder`.

    `identity` says what run this is and is saved with the state. Every random number comes from (seed, epoch,
    position), with the seed of ``batches.train``, so a resumed run repeats what an uninterrupted one would have done.
    Of several processes each takes its share of every batch and holds the same weights; the first alone evaluates and
    saves, and sends the others the numbers. Raises :class:`zoo.errors.MachineError` when the state cannot be saved.
    """
    session = _Session(model, recipe, batches, device, compiled)
    if state is not None:
        try:
            session.restore(state)
        except Exception as problem:
            words = " ".join(str(problem).split())[:200]
            advice = ("; add ", Option("restart"), " to start this run again")
            raise ResultError(f"{folder.state}: the saved state does not fit: {words}", *advice) from problem
    progress, is_main = session.progress, batches.train.batching.distributed.is_main
    begins_after, diverged = progress.epoch, None
    if is_main and (state is not None or folder.history.exists()):
        save_history(folder.history, progress.history)  # without epochs that a kill lost
    if state is not None:
        reporter.resumed(begins_after, recipe.epochs)

    with Saver(folder.state, device, reporter.written) as saver:
        for epoch in range(begins_after, recipe.epochs):
            # Augment, forward, backward, update, average. The device is waited for once a window, ten times an epoch.
            # The first window of a session warms up caches, allocators and compilers, so its speed does not count.
            row, steps, rates = train_epoch(session, epoch, reporter, warm=epoch > begins_after)
            if not math.isfinite(row.running_train_loss):
                diverged = Diverged(row.epoch, steps)
                break
            progress.window_rates += rates

            # The images that the recipe selects on, under the averaged weights where it keeps some. The loss of the
            # last step is older than its update, which may be the one that ruins the weights: they are looked at too.
            row = evaluate_epoch(session, row)
            if row.eval_loss is not None and math.isnan(row.eval_loss):
                diverged = Diverged(row.epoch, steps)
                break

            session.adapt(row)  # a plateau lowers the learning rate of the epochs to come
            rose_from = progress.best_value
            selected = select(session, row)  # the best so far: its weights are copied to the CPU
            if is_main:
                save_history(folder.history, progress.history)  # first: a state that is written has its history
                saver.finished(session.saved(identity), last=row.epoch == recipe.epochs)
                reporter.epoch(row, recipe.epochs, rose_from, selected)

    if recipe.selection.rule == "last" and not diverged:
        progress.best_epoch, session.best_weights = progress.epoch, _copy(session.step.evaluated)
    return Outcome(progress, session.best_weights, diverged)


class _Session:
    """All that an epoch changes, and so all that is saved: weights, optimizer, averages, learning rate, progress."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, batches: Batches, device: torch.device, compiled: bool
    ) -> None:
        self.model, self.recipe, self.batches, self.device = model, recipe, batches, device
        self.distributed = batches.train.batching.distributed
        self.optimizer = make_optimizer(model, recipe.optimizer)
        self.step = TrainStep(model, self.optimizer, recipe, device, distributed=self.distributed, compiled=compiled)
        schedule = recipe.schedule
        self.plateau = make_plateau(self.optimizer, schedule) if isinstance(schedule, Plateau) else None
        self.peak = recipe.optimizer.lr  # a plateau lowers it; the closed-form schedules do not
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None
        # A parameter may be frozen at infinity, or left empty: training has not made it so.
        self.trained = {name for name, part in model.named_parameters() if part.requires_grad and part.isfinite().all()}
        self.parts = self.step.parts | ({"plateau": self.plateau} if self.plateau else {})

    def restore(self, state: SavedState) -> None:
        """Become what was saved; `state` stays as it is. Raises ValueError where it does not fit this training."""
        self._check(state)
        self.progress = copy.deepcopy(state.progress)
        self.progress.resumes += 1
        self.best_weights, self.peak = state.best_weights, state.peak
        # What the recipe says of the optimizer is not taken from a file.
        groups = self.optimizer.state_dict()["param_groups"]
        for name, part in self.parts.items():
            saved = getattr(state, name)
            part.load_state_dict(saved | {"param_groups": groups} if name == "optimizer" else saved)

    def _check(self, state: SavedState) -> None:
        if state.progress.epoch > self.recipe.epochs:
            raise ValueError(f"it has {state.progress.epoch} epochs, the recipe {self.recipe.epochs}")
        if (state.best_weights is None) != (state.progress.best_epoch is None):
            raise ValueError("its best weights and their epoch do not go together")
        own = {name: part.state_dict() for name, part in self.parts.items()}
        # After a step the optimizer has something of each parameter. This one changes nothing that is not loaded next.
        trial = make_optimizer(self.model, self.recipe.optimizer)
        set_lr(trial, 0)
        for parameter in (parameter for group in trial.param_groups for parameter in group["params"]):
            parameter.grad = torch.zeros_like(parameter)
        trial.step()
        trial.zero_grad()
        moments = trial.state_dict()["state"]
        saved = state.optimizer["state"]
        if not own["optimizer"]["state"].keys() <= saved.keys():
            raise ValueError("the optimizer lacks something of a parameter")
        own["optimizer"] = {"state": {key: moments.get(key) for key in saved}}
        parts = {name: getattr(state, name) for name in own} | {"optimizer": {"state": saved}}
        if state.best_weights is not None:
            own["best_weights"], parts["best_weights"] = self.step.evaluated.state_dict(), state.best_weights
        check_parts(parts, own)

    def saved(self, identity: Identity) -> SavedState:
        """What :meth:`restore` reads. Its tensors are those in use, to be written or copied before the next step."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        return SavedState(identity, self.progress, self.peak, best_weights=self.best_weights, **parts)

    def finite(self, evaluated: nn.Module) -> bool:
        """Whether the parameters of `evaluated` that are trained are still numbers."""
        parts = [part.isfinite().all() for name, part in evaluated.named_parameters() if name in self.trained]
        return not parts or bool(torch.stack(parts).all())  # the device is waited for once

    def adapt(self, row: EpochRow) -> None:
        """Let the plateau scheduler, where the recipe has it, judge the epoch's loss."""
        schedule, loss = self.recipe.schedule, row.eval_loss
        if isinstance(schedule, Plateau) and self.plateau and loss is not None and row.epoch >= schedule.warmup_epochs:
            set_lr(self.optimizer, self.peak)  # what the scheduler lowers
            self.plateau.step(loss)
            self.peak = float(self.optimizer.param_groups[0]["lr"])


def train_epoch(session: _Session, epoch: int, reporter: Reporter, *, warm: bool) -> tuple[EpochRow, int, list[float]]:
    """Train on every image once, in the order and with the augmentation of (seed, epoch); `epoch` counts from 0.

    Returns the row without an evaluation, the steps taken (it stops where the mean loss is not finite), and the images
    per second of each window. The speed of the first window counts only in a `warm` session.
    """
    recipe, loader, device, distributed = session.recipe, session.batches.train, session.device, session.distributed
    steps = len(loader)
    window = loader.window

    session.model.train()
    # For dropout and the like; the order of the data and the augmentation need no global state.
    seed_all(derive("layers", loader.batching.seed, epoch) + distributed.rank)
    loss_sum = torch.zeros((), device=device)  # both stay on the device until a window ends
    hits = torch.zeros((), dtype=torch.int64, device=device)
    seen = seen_before_window = 0
    lr, mean_loss, accuracy = session.peak, math.nan, 0.0
    rates: list[float] = []
    reporter.stepped(epoch + 1, recipe.epochs, 0, steps)
    start = window_start = time.perf_counter()

    for index, (images, labels) in enumerate(loader.epoch(epoch), 1):
        lr = session.peak * lr_factor(recipe.schedule, epoch + (index - 0.5) / steps, recipe.epochs)
        set_lr(session.optimizer, lr)
        size = loader.size(index - 1)  # of the whole batch; `labels` are this process' share
        done = (epoch + index / steps) / recipe.epochs
        loss, correct = session.step(images, labels, done, distributed.loss_weight(len(labels), size))
        loss_sum += loss * len(labels)
        hits += correct
        seen += size
        reporter.stepped(epoch + 1, recipe.epochs, index, steps)

        if index % window == 0 or index == steps:
            synchronize(device)
            now = time.perf_counter()
            rates.append((seen - seen_before_window) / (now - window_start))
            mean_loss = distributed.all_reduce(loss_sum).item() / seen
            accuracy = distributed.all_reduce(hits).item() / seen
            if not math.isfinite(mean_loss):
                break
            reporter.window(epoch + 1, recipe.epochs, index, steps, mean_loss, accuracy, rates[-1])
            seen_before_window, window_start = seen, time.perf_counter()

    seconds = time.perf_counter() - start
    rates = rates[0 if warm else 1 :]
    row = EpochRow(
        epoch=epoch + 1,
        lr=lr,
        running_train_loss=mean_loss,  # over augmented images as they went by, while the weights changed
        running_train_accuracy=accuracy,
        eval_split=None,
        eval_loss=None,
        eval_accuracy=None,
        train_images_per_second=statistics.median(rates) if rates else seen / seconds,
        train_seconds=seconds,
        eval_seconds=0.0,
    )
    return row, index, rates


def evaluate_epoch(session: _Session, row: EpochRow) -> EpochRow:
    """`row` with loss and accuracy of the weights that may be stored, on the selection split, by the main process.

    They are None where there is no such split, and NaN where a logit or a trained parameter is infinite or NaN. Buffers
    may be infinite: a mask, or a range that has seen nothing.
    """
    start = time.perf_counter()
    recipe, images, evaluated = session.recipe, session.batches.selection, session.step.evaluated
    metrics: tuple[float | None, float | None] = (None, None)
    if images is not None and session.distributed.is_main:
        evaluation = evaluate(evaluated, images, session.device, recipe.precision, recipe.tta)
        metrics = (evaluation.loss, evaluation.accuracy) if evaluation.finite else (math.nan, math.nan)
    loss, accuracy = session.distributed.broadcast(metrics)
    if not session.finite(evaluated):
        loss = accuracy = math.nan
    split = recipe.selection.split if loss is not None else None
    seconds = time.perf_counter() - start
    return replace(row, eval_split=split, eval_loss=loss, eval_accuracy=accuracy, eval_seconds=seconds)


def select(session: _Session, row: EpochRow) -> bool:
    """Add the epoch to the progress, and keep its weights where it is the best so far; whether it is."""
    progress, selection = session.progress, session.recipe.selection
    progress.history.append(row)
    progress.epoch = row.epoch
    if selection.rule == "last" or row.eval_loss is None or row.eval_accuracy is None:
        return False
    score = row.eval_accuracy if selection.metric == "accuracy" else -row.eval_loss
    if progress.best_value is not None and score <= progress.best_value:  # the first of equals stays
        return False
    progress.best_epoch, progress.best_value = row.epoch, score
    session.best_weights = _copy(session.step.evaluated)
    return True


def _copy(model: nn.Module) -> dict[str, Tensor]:
    """The state dict on the CPU, no longer tied to the model."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
