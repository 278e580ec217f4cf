"""One model's trials, remembered in SQLite by Optuna: what was tried, what came of it, what to try next."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from zoo.engine.reporter import Reporters
from zoo.errors import MachineError, Option, ResultError, ZooError
from zoo.recipes.schema import Tuned
from zoo.registry.model import Model
from zoo.results.fields import Experiment
from zoo.tuning.space import Space
from zoo.utils.files import check_no_link, open_file
from zoo.utils.lock import lock
from zoo.utils.seeding import derive

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

FILE = "study.db"
_EXPERIMENT = TypeAdapter(Experiment)
WORST = 0.0  # the accuracy of a trial that diverged


@dataclass(frozen=True)
class Trial:
    """A finished trial. `accuracy`: held out, of the weights a run would store; :data:`WORST` where it diverged.

    None where it was pruned; `accuracies` are those of its epochs.
    """

    number: int
    values: dict[str, float | int]
    accuracy: float | None
    accuracies: list[float]
    diverged: bool

    @property
    def pruned(self) -> bool:
        """Whether it was stopped before its last epoch."""
        return self.accuracy is None


class TuningReporter(Reporters):
    """Passes on what a bench's reporter is called with, one trial being one run; of trials it does nothing.

    ``run`` is called with the number of the trial, 1 being the first.
    """

    def starts(self, model: Model, trials: int, done: int, path: Path) -> None:
        """The trials of a model start; `done` of the `trials` are finished, in the folder `path`."""

    def tries(self, values: dict[str, float | int]) -> None:
        """What a trial tries."""

    def ended(self, trial: Trial) -> None:
        """A trial is finished."""


class Trials:
    """The trials in `folder`. Use it inside :func:`opened`."""

    def __init__(self, study: optuna.Study, folder: Path, space: Space, budget: Tuned) -> None:
        self.folder = folder
        self._study, self._space, self._budget = study, space, budget
        self._reported: set[int] = set()  # epochs of the trial at hand

    def next(self) -> optuna.Trial:
        """The trial that a killed process left, or else a new one: its number and its values are settled.

        What is tried is a function of the seed, the trial's number and the results of all earlier trials, so that
        tuning which was interrupted resumes as if it had not been.
        """
        import optuna

        states = optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == states.RUNNING:
                self._reported = set(trial.intermediate_values)
                return optuna.trial.Trial(self._study, trial._trial_id)
        if not self._study.get_trials(deepcopy=False, states=(states.WAITING,)):
            # Enqueued first and then taken, so that no kill can fall between two values of one trial.
            self._study.enqueue_trial(self._draw(len(self._study.trials)))
        self._reported = set()
        return self._study.ask()

    def _draw(self, number: int) -> dict[str, float | int]:
        import optuna

        if number == 0:
            return self._space.own
        if number < self._budget.startup_trials:
            return self._space.point(number, self._budget.seed)
        # A study of its own, in memory: the sampler has then no other past than the trials.
        seed = derive("tune", self._budget.seed, number) % 2**32
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=self._budget.startup_trials, multivariate=True, constant_liar=False
        )
        past = optuna.create_study(direction="maximize", sampler=sampler)
        past.add_trials(self._study.trials)
        drawn = past.ask(self._distributions()).params
        return {key: self._space.rounded(key, number) for key, number in drawn.items()}

    def _distributions(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution, IntDistribution

        return {
            key: IntDistribution(int(bounds.low), int(bounds.high), log=bounds.log)
            if key in self._space.whole
            else FloatDistribution(bounds.low, bounds.high, log=bounds.log)
            for key, bounds in self._space.ranges.items()
        }

    def values(self, trial: optuna.Trial) -> dict[str, float | int]:
        """What `trial` tries."""
        return {
            key: trial.suggest_int(key, int(bounds.low), int(bounds.high), log=bounds.log)
            if key in self._space.whole
            else trial.suggest_float(key, bounds.low, bounds.high, log=bounds.log)
            for key, bounds in self._space.ranges.items()
        }

    def report(self, trial: optuna.Trial, epoch: int, accuracy: float) -> bool:
        """Note the held-out accuracy after `epoch` (1 is the first) and say whether `trial` is to be pruned there."""
        if epoch not in self._reported:
            trial.report(accuracy, epoch)
        return trial.should_prune()

    def finish(self, trial: optuna.Trial, accuracy: float | None, diverged: bool = False) -> None:
        """Store the end of `trial`; no `accuracy` says that it was pruned."""
        import optuna

        if diverged:
            trial.set_user_attr("diverged", True)
        state = optuna.trial.TrialState.PRUNED if accuracy is None else optuna.trial.TrialState.COMPLETE
        self._study.tell(trial, accuracy, state=state)

    def finished(self) -> list[Trial]:
        """All finished trials by number."""
        return [
            Trial(
                number=trial.number,
                values={key: self._space.rounded(key, trial.params[key]) for key in self._space.ranges},
                accuracy=trial.value if trial.state.name == "COMPLETE" else None,
                accuracies=[accuracy for _, accuracy in sorted(trial.intermediate_values.items())],
                diverged=bool(trial.user_attrs.get("diverged")),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.is_finished()
        ]

    def identity(self, new: Experiment) -> Experiment:
        """The :func:`zoo.runner.identity.identity_of` that the trials began with: `new`, where there are none yet."""
        if "identity" not in self._study.user_attrs:
            self._study.set_user_attr("identity", new)
        return _EXPERIMENT.validate_python(self._study.user_attrs["identity"])

    def check(self) -> None:
        """Raise ValueError where a trial is none of this space, or its accuracies are none."""
        if [direction.name for direction in self._study.directions] != ["MAXIMIZE"]:
            raise ValueError("it maximises nothing, or more than one thing")
        _EXPERIMENT.validate_python(self._study.user_attrs.get("identity", {}))
        ranges = self._distributions()
        for number, trial in enumerate(self._study.get_trials(deepcopy=False)):
            waits = not trial.state.is_finished()
            values = trial.system_attrs.get("fixed_params", {}) if waits else trial.params
            accuracies = [*trial.intermediate_values.values(), *(trial.values or [])]
            if (
                trial.number != number
                or values.keys() != ranges.keys()
                or any(not span.low <= values[key] <= span.high for key, span in self._space.ranges.items())
                or any(span != ranges.get(key) for key, span in trial.distributions.items())
                or any(type(epoch) is not int or epoch < 1 for epoch in trial.intermediate_values)
                or any(not 0 <= accuracy <= 1 for accuracy in accuracies)
                or len(trial.values or []) != (trial.state.name == "COMPLETE")
                or (trial.datetime_start is None and trial.state.name != "WAITING")
                or (trial.datetime_complete is None) != waits
            ):
                raise ValueError(f"trial {number} is none of this study")


@contextlib.contextmanager
def opened(folder: Path, space: Space, budget: Tuned) -> Iterator[Trials]:
    """The trials in `folder`, locked against other zoo processes; none yet where the folder is new.

    Raises :class:`MachineError` where another process has them or the disk is full, and :class:`ResultError` for a
    file that is damaged, no study of Optuna's, or of another version of it.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    path = folder / FILE
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with lock(path) as has_locks, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `multivariate`, since 2020
        folder.mkdir(parents=True, exist_ok=True)
        check_no_link(path)
        storage = None
        try:
            try:
                storage = _storage(path, has_locks)
                study = optuna.create_study(
                    storage=storage,
                    sampler=optuna.samplers.RandomSampler(),  # draws nothing: every trial is enqueued with its values
                    pruner=_pruner(budget),
                    study_name=budget.model,
                    direction="maximize",
                    load_if_exists=True,
                )
                trials = Trials(study, folder, space, budget)
                trials.check()
            except (ZooError, OSError):
                raise
            except Exception as problem:  # a border: whatever Optuna makes of what the file holds
                raise _explain(path, problem) from problem
            yield trials
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as problem:
            raise _explain(path, problem) from problem
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def discard(folder: Path) -> None:
    """Remove the trials in `folder` and their recipe. Raises :class:`MachineError` where another process has them."""
    with lock(folder / FILE):
        for path in folder.iterdir():
            if path.is_dir() and re.fullmatch("trial[0-9]+|[0-9]+-trials", path.name):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(FILE):  # SQLite may have left a journal
                path.unlink()


def _storage(path: Path, has_locks: bool) -> optuna.storages.RDBStorage:
    """The database at `path`. SQLite's own locks are left out where the disk has none: the study is locked by zoo."""
    import optuna

    if path.exists():
        try:
            open_file(path).close()
        except OSError as problem:
            raise ResultError(f"{path}: the trials cannot be read ({problem.strerror})") from problem
    # Escaped as SQLite's URLs are; in SQLAlchemy's "?", "%" and braces mean something else.
    address = f"{path.absolute().as_uri()}?nolock={int(not has_locks)}"
    connect = functools.partial(sqlite3.connect, address, uri=True, check_same_thread=False)
    try:
        return optuna.storages.RDBStorage(f"sqlite:///{FILE}", {"creator": connect})
    except RuntimeError as problem:  # how Optuna says that another version of it made the file
        line = " ".join(str(problem).split())
        raise ResultError(f"{path}: {line} Or add ", Option("restart"), " to tune from the beginning") from problem


def _pruner(budget: Tuned) -> optuna.pruners.BasePruner:
    import optuna

    if budget.pruner is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(budget.startup_trials, n_warmup_steps=budget.pruner.warmup_epochs + 1)


def _explain(path: Path, problem: Exception) -> MachineError | ResultError:
    # Optuna says "internal error"; what SQLite found is the first cause.
    first: BaseException = problem
    while first.__cause__ is not None:
        first = first.__cause__
    line = " ".join(str(first).split())
    if "full" in line:
        return MachineError(
            f"{path}: no space left on the disk; free some, then give the same command again: nothing earlier is lost"
        )
    if "readonly" in line or "unable to open" in line:
        another = Option("runs", "FOLDER")
        return MachineError(f"{path}: the folder cannot be written to ({line}); choose another with ", another)
    if "I/O error" in line or "locked" in line:
        return MachineError(f"{path}: {line}; when it is mended, give the same command again: nothing is lost")
    reason = f"{path}: the trials cannot be read ({line[:120]}); add "
    return ResultError(reason, Option("restart"), " to tune from the beginning")
