"""Carries a job out: its runs one after the other here, all together on a cluster, or as the table of a dry run."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.cli.forecast import plan, show_estimates
from zoo.cli.job import echo_notes
from zoo.cli.share import choose_jobs, settle, warn_of_load
from zoo.errors import ZooError, sentence
from zoo.utils.text import counted

if TYPE_CHECKING:
    from zoo.cli.job import Job
    from zoo.cluster.options import Cluster
    from zoo.engine.reporter import Reporter
    from zoo.registry.model import Model
    from zoo.results.folder import Stored
    from zoo.results.run import Run
    from zoo.runner.checks import Failures
    from zoo.runner.inputs import Inputs
    from zoo.track.tracker import Tracker

    Steps = list[tuple[Inputs, list[Run]]]  # the runs of each recipe


def carry_out(
    job: Job, models: Sequence[Sequence[Model]] | None = None, *, failures: Failures | None = None
) -> list[list[Stored]]:
    """The stored runs of `job` for each recipe; all are checked before the first starts. Exits on Ctrl-C.

    `models`: those of each recipe, where it is not all of the job's. `failures`: where models whose code fails end, by
    name, while the others are run; each is reported. Without it the first one ends the command.
    Returns nothing where the caller has nothing to show, see ``Job.shows_nothing``.
    """
    from zoo.engine.reporter import Reporter, Reporters
    from zoo.registry.model import replaced
    from zoo.render.progress import make_reporter
    from zoo.results.folder import Stored
    from zoo.results.run import planned_runs
    from zoo.runner.checks import check
    from zoo.runner.sweep import bench, clear
    from zoo.runner.unusual import first_line
    from zoo.track.trackers import open_trackers

    training, distributed = job.training, job.settings.distributed
    steps = [
        (inputs, planned_runs(of_recipe, job.seeds, inputs.recipe, job.data.name, training.runs))
        for inputs, of_recipe in zip(job.inputs, models or [job.models] * len(job.inputs), strict=True)
    ]
    echo = functools.partial(click.echo, err=True)
    job = settle(job, [run for _, runs in steps for run in runs if not training.restart], echo)
    if training.dry_run:
        if distributed.is_main:
            show_estimates(job, steps, failures)
        return []
    if distributed.world_size > 1:
        failures = None
    notes: dict[str, list[str]] = {}
    for inputs, runs in steps:
        notes |= distributed.agree(functools.partial(check, runs, inputs, failures, restart=training.restart))
    steps = [(inputs, [run for run in runs if run.model.name not in (failures or ())]) for inputs, runs in steps]
    if job.training.jobs == "auto":
        job = choose_jobs(job, steps, echo)
    track = training.track if distributed.is_main else ()
    shown = make_reporter(quiet=not distributed.is_main, together=job.cluster is not None)
    with shown as lines, open_trackers(track, training.runs, lines.say) as trackers:
        if any(runs for _, runs in steps):
            lines.say(first_line(job.inputs))
        reporter_of = _tracked(lines, trackers) if track else lambda inputs: lines
        replacements = {pair for model in job.models for pair in model.replacements.items()}
        for part, package in sorted(replacements):
            lines.say(replaced(part, package))

        class Failed(Reporter):
            def failed(self, run: Run, problem: ZooError) -> None:
                lines.say(f"zoo: {options.line(problem.parts)}")

        for problem in (failures or {}).values():
            lines.say(f"zoo: {options.line(problem.parts)}")
        if failures and not any(runs for _, runs in steps):
            return []
        echo_notes(notes, lines.say)
        with options.resumable(lines.say, "epoch", *options.launcher(distributed.world_size)):
            # All before the first run: an interruption must not leave old results standing.
            if training.restart and distributed.is_main:
                clear([run for _, runs in steps for run in runs])
            jobs = job.cluster.jobs if job.cluster else 1
            if jobs and not all(run.folder.result.is_file() for _, runs in steps for run in runs):
                warn_of_load(lines.say, jobs)
            plan(job, steps, lines)
            if job.cluster:
                for step in steps:
                    lines.say(_heading(job, *step))
                return carry_out_on_cluster(job, job.cluster, steps, lines, reporter_of)
            stored = []
            for inputs, runs in steps:
                lines.say(_heading(job, inputs, runs))
                results = bench(runs, inputs, Reporters(reporter_of(inputs), Failed()), failures)
                if distributed.is_main:
                    folders = {(run.model.name, run.seed): run.folder for run in runs}
                    stored.append([Stored(result, folders[result.model.name, result.seed]) for result in results])
            return stored


def _heading(job: Job, inputs: Inputs, runs: Sequence[Run]) -> str:
    from zoo.results.run import models_of

    recipe = inputs.recipe
    return (
        f"recipe {recipe.slug} ({recipe.precision}) on {job.data.name}: {counted(len(models_of(runs)), 'model')} x "
        f"{counted(len(job.seeds), 'seed')}, {counted(recipe.epochs, 'epoch')}, runs in {job.training.runs}"
    )


def _tracked(lines: Reporter, trackers: list[Tracker]) -> Callable[[Inputs], Reporter]:
    """What logs the runs of a recipe to `trackers` and shows them by `lines`."""
    from zoo.engine.environment import zoo_commit
    from zoo.engine.reporter import Reporters
    from zoo.track.reporter import Tracked

    git = zoo_commit()  # for trackers; each run records its own
    return lambda inputs: Reporters(lines, Tracked(lines.say, trackers, inputs.recipe, inputs.dataset, git))


def carry_out_on_cluster(
    job: Job, cluster: Cluster, steps: Steps, lines: Reporter, reporter_of: Callable[[Inputs], Reporter]
) -> list[list[Stored]]:
    """The runs of all `steps` as one sweep, shown by `lines`; the reporter of its recipe hears of a run's end.

    Exits with code 2, after all have ended, where some are not stored.
    """
    from zoo.cluster.backend import open_backend
    from zoo.cluster.request import make_request
    from zoo.cluster.sweep import Ticket, marks_in, sweep
    from zoo.results.folder import Stored, load_result
    from zoo.results.history import load_history
    from zoo.runner.estimate import OVER, look

    training, resources = job.training, cluster.for_device(job.settings.device.type)
    tickets: list[Ticket] = []
    distinct = {runs[0].folder: (inputs, runs) for inputs, runs in steps}.values()  # two steps may be one recipe
    done_before, total = 0, sum(len(runs) for _, runs in distinct)
    to_do = sum(not run.folder.result.is_file() for _, runs in distinct for run in runs)
    at_a_time = min(to_do, cluster.at_a_time(resources) or 1)
    with marks_in(training.runs) as marks:
        shared = job.sweep(resources.cpu, str(marks.absolute()), at_a_time)
        for inputs, runs in distinct:
            reporter = reporter_of(inputs)
            for run, (state, epoch) in zip(runs, look(runs, inputs), strict=True):
                if state in OVER:
                    done_before += 1
                    reporter.run(run, done_before, total)
                    reporter.finished(run, load_result(run.folder.result), True)
                    continue
                rows = load_history(run.folder.history)[:epoch] if epoch else []
                request = make_request(len(tickets), run, inputs, shared)
                spent = sum(row.train_seconds + row.eval_seconds for row in rows)
                tickets.append(Ticket(run, inputs.recipe.epochs, request, reporter, rows=epoch, seconds_before=spent))
        with contextlib.redirect_stdout(sys.stderr):  # Ray logs lost workers; stdout is for the table
            backend = functools.partial(open_backend, cluster, resources, training.runs)
            summary = sweep(tickets, done_before, backend, marks, lines)
    lines.say(str(summary))
    for how, messages in (("lost: ", summary.lost), ("", summary.failed)):
        for name, message in messages.items():
            lines.say(f"zoo: {name}: {how}{sentence(message, options.worded)}")
    if missing := len(summary.failed) + len(summary.lost):
        lines.say(f"zoo: {missing} of {counted(summary.runs, 'run')} not done; to resume: {options.again('zoo')}")
        raise click.exceptions.Exit(2)
    return [[Stored(load_result(run.folder.result), run.folder) for run in runs] for _, runs in steps]
