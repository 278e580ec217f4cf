"""Tuning: each model's own best values of a recipe on its held-out images, every model under the same budget.

Trials are ordinary trainings, by the same loop as a run's, that stop before a run would read the test set. The search
is Optuna's (Akiba et al., 2019, arXiv:1907.10902): its TPE sampler (Bergstra et al., 2011) and its median pruner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engine.reporter import Reporter, Reporters
from zoo.engine.train import Outcome
from zoo.recipes.load import with_values
from zoo.recipes.schema import Tuned
from zoo.registry.model import Model
from zoo.results.folder import RunFolder, make_folder, model_folder
from zoo.results.history import EpochRow
from zoo.results.run import Run
from zoo.runner.identity import check_identity, identity_of
from zoo.runner.inputs import Inputs
from zoo.runner.run_one import set_up, train_on
from zoo.tuning.outcome import Tuning, conclude
from zoo.tuning.space import Space, budget, folder_name
from zoo.tuning.study import WORST, Trials, TuningReporter, discard, opened
from zoo.utils.files import remove_leftovers
from zoo.utils.lock import lock
from zoo.utils.seeding import derive

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Search:
    """What is tuned and how: the same for every model. `recipe_name` is how the user named the recipe of `inputs`.

    `dataset_name` is what the tuned recipe is to train on where nothing else is asked for.
    """

    inputs: Inputs
    recipe_name: str
    dataset_name: str
    space: Space
    trials: int
    pruned: bool
    seed: int
    runs: Path

    def folder(self, model: Model) -> Path:
        """Where the trials of `model` and its recipe are."""
        name = folder_name(self.budget(model))
        return self.runs / name / self.inputs.dataset.name / self.inputs.recipe.slug / model_folder(model.name)

    def budget(self, model: Model) -> Tuned:
        """What a tuned recipe of `model` says of how it came about."""
        return budget(self.inputs.recipe, model.name, self.space, self.trials, self.pruned, self.seed)


def tune(models: Sequence[Model], search: Search, reporter: TuningReporter, restart: bool = False) -> list[Tuning]:
    """Do every trial that is not done, model by model, and write each model's tuned recipe; in one process.

    No test image is read. A process that is killed loses no finished trial, and the running one goes on from its last
    epoch. `restart` throws away earlier trials. Raises :class:`zoo.errors.MachineError` when another process is at
    a model's trials, :class:`zoo.errors.ResultError` when stored ones are of another definition of the model or of
    other data, and what :func:`zoo.runner.run_one.set_up` and :func:`zoo.runner.run_one.train_on` raise.
    """
    if restart:  # all before the first trial: one that is interrupted must not leave old trials standing
        for model in models:
            discard(search.folder(model))
    tunings = []
    for model in models:
        spent, folder = search.budget(model), search.folder(model)
        with opened(folder, search.space, spent) as trials:
            identity = identity_of(model, search.inputs)
            check_identity(RunFolder(folder), model, trials.identity(identity), identity)
            done = trials.finished()
            for trial in done:  # what a kill left of it after it was finished, its lock as well
                ended = RunFolder(folder / f"trial{trial.number}")
                with lock(ended.path):
                    _forget(ended)
            reporter.starts(model, search.trials, min(len(done), search.trials), folder)
            while len(trials.finished()) < search.trials:
                _trial(trials, model, search, reporter)
            # Where there once were more trials the first ones count: no trial depends on a later one.
            done = trials.finished()[: search.trials]
            base = search.inputs.recipe
            tunings.append(conclude(base, search.recipe_name, search.dataset_name, spent, done, folder))
    return tunings


class _Pruned(Exception):
    """A trial is stopped; raised through the training loop, whose files are whole at that moment."""


def _trial(trials: Trials, model: Model, search: Search, reporter: TuningReporter) -> None:
    """Train one trial to its end, its pruning or its divergence."""
    trial = trials.next()
    values = trials.values(trial)
    inputs = search.inputs.replaced(with_values(search.inputs.recipe, values, f"trial {trial.number}"))
    # Not one of the seeds that a bench uses: a run of the tuned recipe would else be the trial that was chosen.
    folder = RunFolder(trials.folder / f"trial{trial.number}")
    run = Run(model, derive("tuning", search.seed) % 10**9, folder)
    reporter.run(run, trial.number + 1, search.trials)
    reporter.tries(values)
    identity = identity_of(model, inputs)
    accuracy: float | None = None
    diverged = False
    with lock(folder.path):
        make_folder(folder)
        remove_leftovers(folder.path, locked=True)
        pruning = _Pruning(trials, trial, inputs.recipe.epochs)
        ready = set_up(run, inputs, identity=identity)
        try:
            if ready.state is not None:
                pruning.judge(*ready.state.progress.history)
            outcome = train_on(ready, Reporters(reporter, pruning))
            diverged = outcome.diverged is not None
            accuracy = WORST if diverged else _held_out(outcome)
        except _Pruned:
            ready.batches.train.close()
        trials.finish(trial, accuracy, diverged)
        _forget(folder)
    reporter.ended(trials.finished()[-1])


def _forget(folder: RunFolder) -> None:
    """Remove the files of a finished trial: Optuna has what they say, and without a result they look like a run that
    was stopped.
    """
    folder.clear()
    remove_leftovers(folder.path, locked=True)
    with contextlib.suppress(OSError):
        folder.path.rmdir()


def _held_out(outcome: Outcome) -> float:
    """The held-out accuracy of the weights that a run would store."""
    return next(_accuracy(row) for row in outcome.progress.history if row.epoch == outcome.progress.best_epoch)


def _accuracy(row: EpochRow) -> float:
    assert row.eval_accuracy is not None, "tuning needs held-out images"
    return row.eval_accuracy


class _Pruning(Reporter):
    """Stops a trial that is to be pruned."""

    def __init__(self, trials: Trials, trial: optuna.Trial, epochs: int) -> None:
        self._trials, self._trial, self._epochs = trials, trial, epochs

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The epoch is judged."""
        self.judge(row)

    def judge(self, *rows: EpochRow) -> None:
        """Note the epochs and judge the newest; raises :class:`_Pruned`. The last epoch has nothing left to save.

        The pruner looks at the newest epoch alone; those before it were judged when they were the newest.
        """
        pruned = [self._trials.report(self._trial, row.epoch, _accuracy(row)) for row in rows]
        if pruned[-1] and rows[-1].epoch < self._epochs:
            raise _Pruned
