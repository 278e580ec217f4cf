"""The training loop, read from top to bottom. It knows a module and a recipe, and no name of a model or norm."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo.data.loader import EvalLoader, TrainLoader
from zoo.engine.checkpoint import Identity, Progress, SavedState, save_state
from zoo.engine.evaluate import evaluate
from zoo.engine.machine import synchronize
from zoo.engine.optim import lower_peak, lr_factor, make_optimizer, make_plateau, set_lr
from zoo.engine.reporter import Reporter
from zoo.engine.step import TrainStep
from zoo.recipes.recipe import Recipe
from zoo.recipes.schema import Plateau, Selection
from zoo.results.folder import RunFolder
from zoo.results.history import EpochRow, save_history
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
    """Train `model` in place by `recipe`, resuming from `state` where there is one, saving to `folder` each epoch.

    `identity` says what run this is and is saved with the state. Every random number comes from (seed, epoch,
    position), with the seed of ``batches.train``, so a resumed run repeats what an uninterrupted one would have done.
    Of several processes each takes its share of every batch and holds the same weights; the first alone evaluates and
    saves, and sends the others the numbers. Raises :class:`zoo.errors.MachineError` when the state cannot be saved.
    """
    session = _Session(model, recipe, batches, device, compiled)
    if state is not None:
        session.restore(state)
        reporter.resumed(state.progress.epoch, recipe.epochs)
    progress, is_main = session.progress, batches.train.batching.distributed.is_main
    begins_after, diverged = progress.epoch, None

    for epoch in range(begins_after, recipe.epochs):
        # Augment, forward, backward, update, average. The device is waited for ten times an epoch: once a window.
        # The first window of a session warms up caches, allocators and compilers, so its speed does not count.
        trained = train_epoch(session, epoch, reporter, warm=epoch > begins_after)
        if not math.isfinite(trained.loss):
            diverged = Diverged(epoch + 1, trained.steps)
            break
        progress.window_rates += trained.rates

        # The images that the recipe selects on, under the averaged weights where it keeps some. The loss of the last
        # step is older than its update, which may be the one that ruins the weights: they are looked at too.
        start = time.perf_counter()
        eval_loss, eval_accuracy = evaluate_epoch(session)
        if eval_loss is not None and math.isnan(eval_loss):
            diverged = Diverged(epoch + 1, trained.steps)
            break
        session.adapt(epoch + 1, eval_loss)  # a plateau lowers the learning rate of the epochs to come

        row = EpochRow(
            epoch=epoch + 1,
            lr=trained.lr,
            train_loss=trained.loss,  # over augmented images as they went by, while the weights changed
            train_accuracy=trained.accuracy,
            eval_split=recipe.selection.split if eval_loss is not None else None,
            eval_loss=eval_loss,
            eval_accuracy=eval_accuracy,
            train_images_per_second=trained.images_per_second,
            train_seconds=trained.seconds,
            eval_seconds=time.perf_counter() - start,
        )
        rose_from = progress.best_value
        selected = select(session, row)  # the best so far: its weights are copied to the CPU

        if is_main:
            save_history(folder.history, progress.history)  # first: a state that is saved has its history
            save_state(folder.state, session.saved(identity))
            reporter.epoch(row, recipe.epochs, rose_from, selected)

    if recipe.selection.rule == "last" and not diverged:
        progress.best_epoch, session.best_weights = progress.epoch, _copy(session.step.evaluated)
    return Outcome(
        history=progress.history,
        weights=session.best_weights,
        selected_epoch=progress.best_epoch,
        window_rates=progress.window_rates,
        resumes=progress.resumes,
        diverged=diverged,
    )


class _Session:
    """All that an epoch changes, and so all that is saved: weights, optimizer, averages, learning rate, progress."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, batches: Batches, device: torch.device, compiled: bool
    ) -> None:
        self.model, self.recipe, self.batches, self.device = model, recipe, batches, device
        self.optimizer = make_optimizer(model, recipe.optimizer)
        distributed = batches.train.batching.distributed
        self.step = TrainStep(model, self.optimizer, recipe, device, distributed=distributed, compiled=compiled)
        schedule = recipe.schedule
        self.plateau = make_plateau(self.optimizer, schedule) if isinstance(schedule, Plateau) else None
        # The plateau lowers this; the closed-form schedules leave it at the recipe's peak.
        self.peak = recipe.optimizer.lr
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None

    def restore(self, state: SavedState) -> None:
        """Become what was saved; `state` stays as it is."""
        was = state.progress
        self.progress = replace(was, history=[*was.history], window_rates=[*was.window_rates], resumes=was.resumes + 1)
        self.best_weights, self.peak = state.best_weights, state.peak
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.step.scaler.load_state_dict(state.scaler)
        if self.step.average is not None and state.averaged is not None:
            self.step.average.load_state_dict(state.averaged)
        if self.plateau is not None and state.plateau is not None:
            self.plateau.load_state_dict(state.plateau)

    def saved(self, identity: Identity) -> SavedState:
        """What :meth:`restore` reads; its tensors are those in use, so it is to be written before the next step."""
        return SavedState(
            identity=identity,
            progress=self.progress,
            peak=self.peak,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.step.scaler.state_dict(),
            averaged=self.step.average.state_dict() if self.step.average is not None else None,
            plateau=self.plateau.state_dict() if self.plateau is not None else None,
            best_weights=self.best_weights,
        )

    def adapt(self, epochs: int, eval_loss: float | None) -> None:
        """After `epochs` epochs: let the plateau scheduler, where the recipe has it, judge the loss."""
        schedule = self.recipe.schedule
        if self.plateau is None or not isinstance(schedule, Plateau) or eval_loss is None:
            return
        if epochs >= schedule.warmup_epochs:
            self.peak = lower_peak(self.plateau, self.peak, eval_loss)


@dataclass(frozen=True)
class TrainedEpoch:
    """An epoch, or the `steps` of it that were taken until the mean loss was no number.

    `loss` (nats) and `accuracy` (0 to 1) are means over its images, `lr` is the last step's, and
    `images_per_second` is the median of the windows' `rates`.
    """

    steps: int
    lr: float
    loss: float
    accuracy: float
    rates: list[float]
    images_per_second: float
    seconds: float


def train_epoch(session: _Session, epoch: int, reporter: Reporter, *, warm: bool) -> TrainedEpoch:
    """Train on every image once, in the order and with the augmentation of (seed, epoch); `epoch` counts from 0.

    The speed of the first window counts only in a `warm` session.
    """
    recipe, loader, device = session.recipe, session.batches.train, session.device
    distributed = loader.batching.distributed
    steps = len(loader)
    window = max(1, steps // WINDOWS_PER_EPOCH)

    session.model.train()
    # For dropout and the like; the order of the data and the augmentation need no global state.
    torch.manual_seed(derive("layers", loader.batching.seed, epoch) + distributed.rank)
    loss_sum = torch.zeros((), device=device)  # both stay on the device until a window ends
    hits = torch.zeros((), dtype=torch.int64, device=device)
    seen = seen_before_window = 0
    lr, mean_loss, accuracy = session.peak, math.nan, 0.0
    rates: list[float] = []
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
    median = statistics.median(rates) if rates else seen / seconds
    return TrainedEpoch(index, lr, mean_loss, accuracy, rates, median, seconds)


def evaluate_epoch(session: _Session) -> tuple[float | None, float | None]:
    """Loss (nats) and accuracy (0 to 1) of the weights that may be stored, on the selection split, by one process.

    None where there is no such split; not a number where a logit or a weight is none.
    """
    recipe, images, distributed = session.recipe, session.batches.selection, session.batches.train.batching.distributed
    loss_and_accuracy: tuple[float | None, float | None] = (None, None)
    if images is not None and distributed.is_main:
        evaluation = evaluate(session.step.evaluated, images, session.device, recipe.precision, recipe.tta)
        loss_and_accuracy = (evaluation.loss, evaluation.accuracy) if evaluation.finite else (math.nan, math.nan)
    loss_and_accuracy = distributed.broadcast(loss_and_accuracy)
    return loss_and_accuracy if _finite(session.step.evaluated) else (math.nan, math.nan)


def select(session: _Session, row: EpochRow) -> bool:
    """Add the epoch to the progress, and keep its weights where it is the best so far; whether it is."""
    progress = session.progress
    progress.history.append(row)
    progress.epoch = row.epoch
    score = _score(row, session.recipe.selection)
    # The first of equals stays.
    if score is None or (progress.best_value is not None and score <= progress.best_value):
        return False
    progress.best_epoch, progress.best_value = row.epoch, score
    session.best_weights = _copy(session.step.evaluated)
    return True


def _score(row: EpochRow, selection: Selection) -> float | None:
    """What selection compares: larger is better, so a loss counts negatively. None where the last epoch is taken."""
    if selection.rule == "last" or row.eval_loss is None:
        return None
    return row.eval_accuracy if selection.metric == "accuracy" else -row.eval_loss


def _finite(model: nn.Module) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


def _copy(model: nn.Module) -> dict[str, Tensor]:
    """The state dict on the CPU, no longer tied to the model."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
