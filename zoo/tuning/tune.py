"""Tuning: each model's own best values of a recipe on its held-out images, every model under the same budget.

Trials are ordinary trainings, by the same loop as a run's, that stop before a run would read the test set. The search
is Optuna's (Akiba et al., 2019, arXiv:1907.10902): its TPE sampler (Bergstra et al., 2011) and its median pruner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.datasets import Dataset
from zoo.engine.reporter import Relay, Reporter
from zoo.engine.train import Outcome
from zoo.recipes.load import with_values
from zoo.recipes.recipe import Recipe
from zoo.registry.model import Model
from zoo.results.folder import RunFolder, make_folder, model_folder
from zoo.results.history import EpochRow
from zoo.results.run import Run
from zoo.runner.identity import check_identity, identity_of
from zoo.runner.run_one import set_up, train_on
from zoo.runner.settings import Settings
from zoo.tuning.outcome import Tuning, conclude
from zoo.tuning.space import Space, budget, study_name
from zoo.tuning.study import WORST, Study, TuningReporter, discard, opened
from zoo.utils.files import lock, remove_leftovers
from zoo.utils.seeding import derive


@dataclass(frozen=True)
class Plan:
    """What is tuned and how: the same for every model. `recipe` is resolved; `given` is how the user named it.

    `dataset_name` is what the tuned recipe is to train on where it is told nothing.
    """

    recipe: Recipe
    given: str
    dataset_name: str
    space: Space
    trials: int
    pruned: bool
    seed: int
    runs: Path

    def folder(self, model: Model, dataset: Dataset) -> Path:
        """Where the study of `model` and its recipe are."""
        name = study_name(budget(self.recipe, model.name, self.space, self.trials, self.pruned, self.seed))
        return self.runs / name / dataset.name / self.recipe.slug / model_folder(model.name)


def tune(
    models: Sequence[Model],
    plan: Plan,
    dataset: Dataset,
    settings: Settings,
    reporter: TuningReporter,
    restart: bool = False,
) -> list[Tuning]:
    """Do every trial that is not done, model by model, and write each model's tuned recipe; in one process.

    No test image is read. A process that is killed loses no finished trial, and the running one goes on from its last
    epoch. `restart` throws away earlier trials. Raises :class:`zoo.errors.MachineError` when another process is at
    one of the studies, :class:`zoo.errors.ResultError` when a study is of another definition of the model or of other
    data, and what :func:`zoo.runner.run_one.set_up` and :func:`zoo.runner.run_one.train_on` raise.
    """
    if restart:  # all before the first trial: one that is interrupted must not leave old trials standing
        for model in models:
            discard(plan.folder(model, dataset))
    found = []
    for model in models:
        told = budget(plan.recipe, model.name, plan.space, plan.trials, plan.pruned, plan.seed)
        folder = plan.folder(model, dataset)
        with opened(folder, plan.space, told) as study:
            identity = identity_of(model, plan.recipe, dataset)
            if study.identity is None:
                study.begin(identity)
            check_identity(RunFolder(folder), model, study.identity, identity)
            done = study.finished()
            for trial in done:
                _forget(RunFolder(folder / f"trial{trial.number}"))
            reporter.study(model, plan.trials, min(len(done), plan.trials), folder)
            while len(study.finished()) < plan.trials:
                _trial(study, model, plan, dataset, settings, reporter)
            # Of a study that once had more trials its first ones count: no trial depends on a later one.
            trials = study.finished()[: plan.trials]
            found.append(conclude(plan.recipe, plan.given, plan.dataset_name, plan.space, told, trials, folder))
    return found


class _Pruned(Exception):
    """A trial is stopped; raised through the training loop, whose files are whole at that moment."""


def _trial(
    study: Study, model: Model, plan: Plan, dataset: Dataset, settings: Settings, reporter: TuningReporter
) -> None:
    """Train one trial to its end, its pruning or its divergence."""
    trial = study.next()
    values = study.values(trial)
    recipe = with_values(plan.recipe, values, f"trial {trial.number}")
    # Not one of the seeds that a bench uses: a run of the tuned recipe would else be the trial that was chosen.
    folder = RunFolder(study.folder / f"trial{trial.number}")
    run = Run(model, derive("tuning", plan.seed) % 10**9, folder)
    reporter.run(run, trial.number + 1, plan.trials)
    reporter.tries(values)
    identity = identity_of(model, recipe, dataset)
    accuracy: float | None = None
    diverged = False
    with lock(folder.path):
        make_folder(folder)
        remove_leftovers(folder.path)
        pruning = _Pruning(reporter, study, trial, recipe.epochs)
        ready = set_up(run, recipe, dataset, settings, identity=identity)
        try:
            if ready.state is not None:
                pruning.judge(*(EpochRow(**row) for row in ready.state["progress"]["history"]))
            outcome = train_on(ready, pruning)
            diverged = outcome.diverged is not None
            accuracy = WORST if diverged else _held_out(outcome)
        except _Pruned:
            ready.batches.train.close()
        study.finish(trial, accuracy, diverged)
        _forget(folder)
    reporter.ended(study.finished()[-1])


def _forget(folder: RunFolder) -> None:
    """Remove the files of a finished trial: what they say is in the study, and without a result they look like a run
    that was left.
    """
    folder.clear()
    remove_leftovers(folder.path)
    with contextlib.suppress(OSError):
        folder.path.rmdir()


def _held_out(outcome: Outcome) -> float:
    """The held-out accuracy of the weights that a run would store."""
    return next(row.eval_accuracy for row in outcome.history if row.epoch == outcome.selected_epoch)


class _Pruning(Relay):
    """Passes progress on, and stops a trial that is to be pruned."""

    def __init__(self, shown: Reporter, study: Study, trial: Any, epochs: int) -> None:
        super().__init__(shown)
        self._study, self._trial, self._epochs = study, trial, epochs

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The epoch is judged."""
        super().epoch(row, epochs, rose_from, saved)
        self.judge(row)

    def judge(self, *rows: EpochRow) -> None:
        """Note the epochs and judge the newest; raises :class:`_Pruned`. The last epoch has nothing left to save.

        The pruner looks at the newest epoch it was told of, and those before it were judged when they were.
        """
        pruned = [self._study.report(self._trial, row.epoch, row.eval_accuracy) for row in rows]
        if pruned[-1] and rows[-1].epoch < self._epochs:
            raise _Pruned
