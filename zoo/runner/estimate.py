"""What of a bench is done, what is left, and how long that takes by the speeds of stored runs.

Looks and computes; creates nothing and trains nothing.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from zoo.builder.construct import build
from zoo.engine.checkpoint import load_state
from zoo.engine.counts import count_macs
from zoo.errors import ResultError
from zoo.registry.fingerprint import core, definition
from zoo.registry.model import Model
from zoo.results.disturbed import disturbed
from zoo.results.fields import Experiment
from zoo.results.folder import Stored, find_results, load_all, load_result
from zoo.results.history import load_history
from zoo.results.run import Run, models_of
from zoo.results.schema import Result
from zoo.runner.identity import check_identity, identity_of, identity_of_result
from zoo.runner.inputs import Inputs

State = Literal["done", "diverged", "begun", "to do"]
OVER = ("done", "diverged")
# Runs of machines that agree in these are taken to be equally fast.
MACHINE = ("cpu", "instructions", "gpu", "threads", "processes")


@dataclass(frozen=True)
class Estimate:
    """One run. `epoch` of `epochs` are saved, or it diverged in that one.

    `seconds` are left, 0 where it is over, None where nothing tells.
    `scaled`: the seconds are those of other models, by the ratio of multiply-accumulates.
    """

    model: str
    seed: int
    folder: Path
    state: State
    epoch: int
    epochs: int
    seconds: float | None
    scaled: bool = False


@dataclass(frozen=True)
class Pace:
    """What is known of a model's speed, from a stored run, say. `rest`: seconds of a run that are not in its epochs."""

    key: tuple[str, str]
    macs: int
    train_rate: float  # images per second
    eval_rate: float | None  # forward passes of an image per second
    rest: float


def look(runs: Sequence[Run], inputs: Inputs, restart: bool = False) -> list[tuple[State, int]]:
    """For each of `runs` its state and the epochs that are saved; `restart` says that nothing stored will count.

    Raises :class:`ResultError` where what is stored is damaged or of another experiment, as the runs themselves would.
    """
    identities = {model.name: identity_of(model, inputs) for model in models_of(runs)}
    return [("to do", 0) if restart else _state(run, identities[run.model.name]) for run in runs]


def estimate(
    runs: Sequence[Run], states: Sequence[tuple[State, int]], inputs: Inputs, paces: Sequence[Pace]
) -> list[Estimate]:
    """All of `runs`, whose states :func:`look` gives, with the seconds that each has left by `paces`.

    These are of the same model on the same data where there are such, else all of them.
    """
    epochs = inputs.recipe.epochs
    seconds_of = {model.name: _estimator(model, inputs, paces) for model in models_of(runs)}
    estimates = []
    for run, (state, epoch) in zip(runs, states, strict=True):
        seconds, scaled = (0.0, False) if state in OVER else seconds_of[run.model.name](epochs - epoch)
        estimates.append(Estimate(run.model.name, run.seed, run.folder.path, state, epoch, epochs, seconds, scaled))
    return estimates


def at_a_time(seconds: Sequence[float], slots: int) -> float:
    """Seconds until all are done in their order, `slots` of them at a time."""
    free = [0.0] * slots
    for duration in seconds:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def _state(run: Run, identity: Experiment) -> tuple[State, int]:
    if run.folder.result.is_file():
        result = load_result(run.folder.result)
        check_identity(run.folder, run.model, identity_of_result(result), identity)
        return ("done", result.epochs_trained) if result.diverged_epoch is None else ("diverged", result.diverged_epoch)
    state = load_state(run.folder.state)
    if state is None:
        return "to do", 0
    check_identity(run.folder, run.model, state.identity.run, identity)
    return "begun", state.progress.epoch


def _estimator(model: Model, inputs: Inputs, paces: Sequence[Pace]) -> Callable[[int], tuple[float | None, bool]]:
    """From the epochs that are left to seconds, and whether these are scaled."""
    own = [pace for pace in paces if pace.key == _key(model, inputs)]
    macs = _macs(model, inputs) if paces and not own else None
    evaluated = inputs.selection_images * inputs.recipe.tta.passes

    def seconds_of(epochs: int) -> tuple[float | None, bool]:
        seconds = []
        for pace in own or paces:
            ratio = 1.0 if macs is None else macs / pace.macs
            epoch = len(inputs.rows[0]) / pace.train_rate + (evaluated / pace.eval_rate if pace.eval_rate else 0)
            seconds.append(epochs * epoch * ratio + pace.rest)
        return (statistics.median(seconds) if seconds else None), not own and bool(seconds)

    return seconds_of


def pace_of(model: Model, inputs: Inputs, rate: float) -> Pace:
    """What a training at this `rate` of images per second says of other models; a forward pass takes a third."""
    return Pace(_key(model, inputs), _macs(model, inputs), rate, 3 * rate, 0.0)


def _key(model: Model, inputs: Inputs) -> tuple[str, str]:
    return str(core(definition(model))), inputs.dataset.fingerprint


def _macs(model: Model, inputs: Inputs) -> int:
    module = build(model, inputs.dataset.num_classes, image_size=inputs.shape[1:])
    return count_macs(module, inputs.shape, torch.device("cpu"))


def stored_paces(stored: Path, precision: str, environment: Mapping[str, Any]) -> list[Pace]:
    """Those of the results in the folder `stored` in this `precision`, on a machine like `environment`.

    `environment` has ``runs_at_a_time`` where runs will share the machine; then they are those of runs that did.
    """
    runs = load_all(find_results([stored])) if stored.is_dir() else []
    paces = [_pace(run) for run in runs if _alike(run.result, precision, environment)]
    return [pace for pace in paces if pace is not None]


def _alike(result: Result, precision: str, environment: Mapping[str, Any]) -> bool:
    same = all(result.environment.get(name) == environment.get(name) for name in MACHINE)
    same = same and bool(result.speed.runs_at_a_time) == bool(environment.get("runs_at_a_time"))
    return same and result.status == "finished" and result.recipe.precision == precision


def _pace(run: Stored) -> Pace | None:
    """None where the run is too short, its history is gone, or something disturbed its speed."""
    result = run.result
    if "train_images_per_second" in disturbed(result.speed.quartiles, vars(result.speed).get):
        return None
    try:
        history = load_history(run.folder.history)
    except ResultError:
        return None
    spent = sum(row.train_seconds + row.eval_seconds for row in history)
    part = result.test if result.selection.split == "test" else result.holdout
    here = [row for row in history if row.epoch > (result.moved_after or 0)]
    eval_seconds = [row.eval_seconds for row in here if row.eval_split]
    passes = result.recipe.tta.passes
    if not here or not result.model.macs:
        return None
    return Pace(
        key=(str(core(result.model.definition)), result.dataset.fingerprint),
        macs=result.model.macs,
        train_rate=result.dataset.train_images / statistics.median(row.train_seconds for row in here),
        eval_rate=passes * part.images / statistics.median(eval_seconds) if part and eval_seconds else None,
        rest=max(0.0, result.wall_seconds - spent),
    )
