"""Models x seeds: plan the runs, do what is not done, keep what is. Every model gets the same recipe and data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from zoo.builder import notes
from zoo.builder.construct import build
from zoo.builder.trial import try_on
from zoo.data.datasets import Dataset
from zoo.recipes.recipe import Recipe
from zoo.registry.model import Model
from zoo.results.folder import RunFolder, load_result
from zoo.results.schema import Result
from zoo.runner.identity import check_identity, identity_of, identity_of_result
from zoo.runner.inputs import check_data, check_weights, input_shape, split_rows
from zoo.runner.run_one import Reporter as RunReporter
from zoo.runner.run_one import Run, make_folder, run_one
from zoo.runner.settings import Settings
from zoo.utils.distributed import check_model, smallest_batch
from zoo.utils.files import lock, remove_leftovers


class Reporter(RunReporter, Protocol):
    """Progress of a whole bench."""

    def run(self, run: Run, number: int, total: int) -> None:
        """A run starts."""

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """A run is stored, or was stored before."""


def plan(models: Sequence[Model], seeds: Iterable[int], recipe: Recipe, dataset: str, runs: Path) -> list[Run]:
    """All runs, seed by seed, so that a bench that is stopped has compared all models on the seeds it has done."""
    return [
        Run(model, seed, RunFolder.of(runs, dataset, recipe.slug, model.name, seed))
        for seed in seeds
        for model in models
    ]


def models_of(runs: Sequence[Run]) -> list[Model]:
    """Each model of `runs` once, in their order."""
    return list({run.model.name: run.model for run in runs}.values())


def check(runs: Sequence[Run], recipe: Recipe, dataset: Dataset, settings: Settings) -> dict[str, list[str]]:
    """Find the mistakes of every run before the first long one, not after it; gives what :func:`check_models` does.

    Raises :class:`zoo.errors.RecipeError` for a wrong transform, split, batch size or executor,
    :class:`zoo.errors.RegistryError` for a model that does not build or does not take an image, and
    :class:`zoo.errors.ResultError` for a folder that cannot be made.
    """
    told = check_models(models_of(runs), recipe, dataset, settings)
    for run in runs:
        make_folder(run.folder)
    return told


def check_models(models: Sequence[Model], recipe: Recipe, dataset: Dataset, settings: Settings) -> dict[str, list[str]]:
    """Check `recipe` against the data, build each of `models` and try it on an image's shape.

    Raises what :func:`zoo.runner.inputs.check_data` and :func:`zoo.runner.inputs.check_weights` do, and
    :class:`zoo.errors.RegistryError`. Gives, by name, what was done to each model as it was built
    (:mod:`zoo.builder.notes`); most have nothing to tell.
    """
    check_data(recipe, dataset, settings)
    shape, told = input_shape(recipe, dataset), {}
    smallest = smallest_batch(len(split_rows(recipe, dataset)[0]), recipe.batch_size, recipe.drop_last)
    for model in models:
        if model.pretrained:
            check_weights(model.pretrained, recipe, dataset)
        module = build(model, dataset.num_classes)
        check_model(model, module, settings.device, settings.world)
        try_on(model, module, shape, dataset.num_classes, smallest // settings.world.size)
        told[model.name] = notes.of(module)
    return told


def clear(runs: Sequence[Run]) -> None:
    """Throw away what `runs` have stored. Raises :class:`zoo.errors.RunBusy` where another process is at one."""
    for run in runs:
        with lock(run.folder.path):
            run.folder.clear()


def bench(
    runs: Sequence[Run], recipe: Recipe, dataset: Dataset, settings: Settings, reporter: Reporter
) -> list[Result]:
    """Do every run of the plan that has no result yet and give all results, in the plan's order.

    All processes of ``settings.world`` call it together; the results are the first's, the others give none.
    `recipe.precision` is settled (not ``auto``). Raises :class:`zoo.errors.RunBusy` when another process is at one of
    the runs, :class:`zoo.errors.ResultError` when a stored run is of another definition of the model or of other data,
    and what :func:`run_one` raises.
    """
    identities = {run.model.name: identity_of(run.model, recipe, dataset) for run in runs}
    world = settings.world
    results = []
    for number, run in enumerate(runs, 1):
        reporter.run(run, number, len(runs))
        identity = identities[run.model.name]
        with lock(run.folder.path) if world.first else contextlib.nullcontext():
            was_done = world.agree(run.folder.result.is_file())
            if was_done:
                result = load_result(run.folder.result)
                check_identity(run.folder, run.model, identity_of_result(result), identity)
            else:
                make_folder(run.folder)
                if world.first:
                    remove_leftovers(run.folder.path)
                result = run_one(run, recipe, dataset, settings, reporter, identity=identity)
        if world.first:
            reporter.finished(run, result, was_done)
            results.append(result)
    return results
