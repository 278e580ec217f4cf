"""How long runs take: the table of a dry run, and the line before the first run starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options
from zoo.errors import ZooError
from zoo.utils.text import counted, duration

if TYPE_CHECKING:
    from zoo.cli.job import Job
    from zoo.render.progress import Silent
    from zoo.results.run import Run
    from zoo.runner.checks import Failures
    from zoo.runner.estimate import Pace
    from zoo.runner.inputs import Inputs

    Steps = Sequence[tuple[Inputs, Sequence[Run]]]  # the runs of each recipe

FEW = 20_000  # images in all trainings, which take a minute or two: not worth a measurement
LONG = 600.0  # seconds, from which on a quicker recipe is named
QUICKER = ("quick", "laptop")


def plan(job: Job, steps: Steps, lines: Silent) -> None:
    """Let `lines` show the time that is left of all `steps`; where there is much to do, say how long it takes here."""
    from zoo.utils import waiting
    from zoo.utils.device import is_here

    if waiting.style == "none":
        return

    def is_left(run: Run) -> bool:
        return job.training.restart or not run.folder.result.is_file()

    left = [(inputs, [run for run in runs if is_left(run)]) for inputs, runs in steps]
    left = [(inputs, runs) for inputs, runs in left if runs]
    lines.plan({run.folder.path: _work(inputs) for inputs, runs in left for run in runs})
    images = sum(len(runs) * inputs.recipe.epochs * len(inputs.rows[0]) for inputs, runs in left)
    if not left or images < FEW or not is_here(job.settings.device) or job.settings.distributed.world_size > 1:
        return
    try:
        seconds, source = _foreseen(job, left)
    except ZooError:  # which the runs themselves report
        return
    lines.plan(seconds)
    total = _together(job, list(seconds.values()))
    lines.say(f"about {duration(total)} for {counted(len(seconds), 'run')} on this machine ({source})")
    if total > LONG and len(left) == 1 and (others := list(_quicker(left[0][0], total))):
        lines.say(f"quicker: {', '.join(others)}")


def _work(inputs: Inputs) -> float:
    """How much a run has to do, in pixels that it is trained on."""
    return inputs.recipe.epochs * len(inputs.rows[0]) * math.prod(inputs.train_shape)


def _foreseen(job: Job, left: Steps) -> tuple[dict[Path, float], str]:
    """The seconds of each run, and by what: by runs that are stored, or else by a few steps of the first."""
    from zoo.runner.estimate import estimate, look, pace_of
    from zoo.runner.measure import training_rate

    states = [look(runs, inputs, job.training.restart) for inputs, runs in left]
    paces, source = _paces(job, left, _machine(job)), "by the speed of earlier runs"
    if not all(paces.values()):
        inputs, (run, *_) = left[0]
        rate = training_rate(run.model, inputs)
        measured, source = pace_of(run.model, inputs, rate), f"{run.model.name}: {rate:,.0f} img/s, just measured"
        paces = {precision: known or [measured] for precision, known in paces.items()}
    estimates = [
        run
        for (inputs, runs), states_of_runs in zip(left, states, strict=True)
        for run in estimate(runs, states_of_runs, inputs, paces[inputs.recipe.precision])
    ]
    return {run.folder: run.seconds or 0.0 for run in estimates}, source


def _paces(job: Job, steps: Steps, environment: Mapping[str, Any]) -> dict[str, list[Pace]]:
    """The speeds of stored runs by their precision, for those of the `steps`; the runs are read once for each."""
    from zoo.runner.estimate import stored_paces

    precisions = dict.fromkeys(inputs.recipe.precision for inputs, _ in steps)
    return {precision: stored_paces(job.training.runs, precision, environment) for precision in precisions}


def _together(job: Job, seconds: list[float]) -> float:
    from zoo.runner.estimate import at_a_time

    slots = job.cluster.at_a_time(job.cluster.for_device(job.settings.device.type)) if job.cluster else 1
    return at_a_time(seconds, slots or 1)


def _quicker(inputs: Inputs, total: float) -> Iterator[str]:
    """Recipes that take less than half as long on the same data."""
    from zoo.recipes.catalogue import recipe_names
    from zoo.recipes.load import load_recipe

    for name in QUICKER:
        if name not in recipe_names() or name == inputs.recipe.name:
            continue
        try:
            share = _work(inputs.replaced(load_recipe(name).with_precision(inputs.recipe.precision))) / _work(inputs)
        except ZooError:  # it wants more images than there are, say
            continue
        if share < 0.5:
            yield f"--recipe {name}, about {duration(total * share)}"


def _machine(job: Job) -> dict[str, Any]:
    """What :func:`zoo.engine.environment.describe` says of where the runs of `job` are trained."""
    import torch

    from zoo.engine.environment import describe
    from zoo.utils.device import is_here

    if is_here(job.settings.device):
        environment = describe(job.settings.device)
    else:
        environment = describe(torch.device("cpu")) | {"gpu": "a GPU of the cluster"}
    if job.cluster:
        resources = job.cluster.for_device(job.settings.device.type)
        environment["threads"] = resources.cpu
        if (at_a_time := job.cluster.at_a_time(resources) or 1) > 1:
            environment["runs_at_a_time"] = at_a_time
    return environment


def show_estimates(job: Job, steps: Steps, failures: Failures | None = None) -> None:
    """Print every run with its state, and the time that is left. What would stop the runs at once stops here.

    A model that would fail is reported and ends in `failures`, where they are given.
    """
    from zoo.render.estimate import render
    from zoo.results.run import models_of
    from zoo.runner.checks import check_models
    from zoo.runner.estimate import estimate, look
    from zoo.runner.unusual import first_line

    for inputs, runs in steps:
        check_models(models_of(runs), inputs, failures)
    for problem in (failures or {}).values():
        click.echo(f"zoo: {options.line(problem.parts)}", err=True)
    steps = [(inputs, [run for run in runs if run.model.name not in (failures or ())]) for inputs, runs in steps]
    if not any(runs for _, runs in steps):
        return
    click.echo(first_line(job.inputs), err=True)
    environment = _machine(job)
    estimates, place, paces = {}, job.training.runs, _paces(job, steps, environment)
    for inputs, runs in steps:
        recipe = inputs.recipe
        title = f"{job.data.name}, recipe {recipe.slug}, {recipe.precision}, {recipe.epochs} epochs, runs in {place}"
        states = look(runs, inputs, job.training.restart)
        estimates[title] = estimate(runs, states, inputs, paces[recipe.precision])
    click.echo(render(estimates, environment), nl=False)
