"""What ``--dry-run`` and ``--cluster`` do with a job: its plan as a table, or its runs on other machines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from zoo.cli import options
from zoo.cli.job import echo_notes
from zoo.cli.options import INTERRUPTED
from zoo.errors import sentence

if TYPE_CHECKING:
    from zoo.cli.job import Job
    from zoo.engine.reporter import Reporter
    from zoo.recipes.recipe import Recipe
    from zoo.registry.model import Model
    from zoo.results.folder import Stored
    from zoo.results.run import Run
    from zoo.runner.inputs import Inputs


def show_plan(job: Job, inputs: Sequence[Inputs], plans: Sequence[Sequence[Run]]) -> None:
    """Print every run of `plans` with its state, and what is left; what would stop the runs at once, stops here."""
    import torch

    from zoo.engine.environment import describe
    from zoo.render.estimate import render
    from zoo.runner.checks import check_models
    from zoo.runner.estimate import estimate
    from zoo.runner.runs import models_of

    for each, runs in zip(inputs, plans, strict=True):
        check_models(models_of(runs), each)
    if job.settings.device.type == "cuda" and not torch.cuda.is_available():
        environment = describe(torch.device("cpu")) | {"gpu": "a GPU of the cluster"}
    else:
        environment = describe(job.settings.device)
    if job.cluster:
        environment["threads"] = job.cluster.for_device(job.settings.device.type).cpu
    estimates = {}
    for each, runs in zip(inputs, plans, strict=True):
        recipe = each.recipe
        title = f"{job.data.name}, recipe {recipe.slug}, {recipe.precision}, {recipe.epochs} epochs, runs in {job.runs}"
        estimates[title] = estimate(runs, each, job.runs, environment, job.restart)
    click.echo(render(estimates, environment), nl=False)


def carry_out_on_cluster(
    job: Job,
    inputs: Sequence[Inputs],
    plans: Sequence[Sequence[Run]],
    lines: Reporter,
    reporter_of: Callable[[Recipe], Reporter],
) -> list[list[Stored]]:
    """The runs of `plans` on the job's cluster, each shown by the reporter of its recipe, all together by `lines`.

    Exits with code 2, after all have ended, where some are not stored.
    """
    from zoo.cluster.backends import open_backend
    from zoo.cluster.request import Sweep, make_request
    from zoo.cluster.sweep import Ticket, marks_in, sweep
    from zoo.results.folder import Stored, load_result
    from zoo.results.history import load_history
    from zoo.runner.estimate import OVER, look

    resources = job.cluster.for_device(job.settings.device.type)
    tickets: list[Ticket] = []
    # Two steps of a study may be one recipe, and their runs the same.
    steps = {runs[0].folder: (each, runs) for each, runs in zip(inputs, plans, strict=True)}.values()
    done_before, total = 0, sum(len(runs) for _, runs in steps)
    with marks_in(job.runs) as marks:
        shared = Sweep(job.registry, job.dataset, job.data_dir, resources.cpu, marks)
        for each, runs in steps:
            reporter = reporter_of(each.recipe)
            for run, (state, epoch) in zip(runs, look(runs, each), strict=True):
                if state in OVER:
                    done_before += 1
                    reporter.run(run, done_before, total)
                    reporter.finished(run, load_result(run.folder.result), True)
                    continue
                rows = load_history(run.folder.history)[:epoch] if epoch else []
                request = make_request(len(tickets), run, each, shared)
                spent = sum(row.train_seconds + row.eval_seconds for row in rows)
                tickets.append(Ticket(run, each.recipe.epochs, request, reporter, rows=epoch, seconds_before=spent))
        with contextlib.redirect_stdout(sys.stderr):  # Ray logs lost workers; stdout is for the table
            summary = sweep(
                tickets, done_before, lambda: open_backend(job.cluster, resources, job.runs, len(tickets)), marks, lines
            )
    lines.say(str(summary))
    for name, message in summary.lost.items():
        lines.say(f"zoo: {name}: lost: {sentence(message, options.worded)}")
    for name, message in summary.failed.items():
        lines.say(f"zoo: {name}: {sentence(message, options.worded)}")
    if not summary.whole:
        lines.say(
            f"zoo: {len(summary.failed) + len(summary.lost)} of {summary.runs} runs are not done; "
            f"to go on: {options.again('zoo')}"
        )
        raise SystemExit(2)
    return [[Stored(load_result(run.folder.result), run.folder) for run in runs] for runs in plans]


def carry_out(
    job: Job, recipes: Sequence[Recipe], models: Sequence[Sequence[Model]] | None = None
) -> list[list[Stored]]:
    """The runs of `job` under each of `recipes`; all are checked before the first starts. Exits on Ctrl-C.

    `models`: those of each recipe, where it is not all of the job's. Gives nothing where the caller has nothing to
    show, see ``Job.shows_nothing``.
    """
    from zoo.engine.environment import zoo_commit
    from zoo.render.progress import Gathered, make_reporter
    from zoo.results.folder import Stored
    from zoo.runner import sweep as engine
    from zoo.runner.checks import check
    from zoo.runner.inputs import Inputs
    from zoo.runner.runs import models_of, planned_runs
    from zoo.track.trackers import open_trackers

    plans = [
        planned_runs(of_it, job.seeds, recipe, job.data.name, job.runs)
        for recipe, of_it in zip(recipes, models or [job.models] * len(recipes), strict=True)
    ]
    inputs = [Inputs(recipe, job.data, job.settings) for recipe in recipes]
    if job.dry_run:
        if job.settings.distributed.is_main:
            show_plan(job, inputs, plans)
        return []
    notes = [check(plan, each) for plan, each in zip(plans, inputs, strict=True)]
    stored, distributed = [], job.settings.distributed
    track = job.track if distributed.is_main else ()
    git = zoo_commit() if track else None  # for trackers; each run records its own
    shown = Gathered(quiet=False) if job.cluster else make_reporter(quiet=not distributed.is_main)
    with shown as lines, open_trackers(track, job.runs, lines.say) as trackers:
        echo_notes({name: texts for of_plan in notes for name, texts in of_plan.items()}, lines.say)

        def reporter_of(recipe: Recipe) -> Reporter:
            if not track:
                return lines
            from zoo.track.reporter import Tracked

            return Tracked(lines, trackers, recipe, job.data, git)

        try:
            # All before the first run: an interruption must not leave old results standing.
            if job.restart and distributed.is_main:
                engine.clear([run for plan in plans for run in plan])
            for plan, each in zip(plans, inputs, strict=True):
                recipe = each.recipe
                lines.say(
                    f"recipe {recipe.slug} ({recipe.precision}) on {job.data.name}: "
                    f"{len(models_of(plan))} models x {len(job.seeds)} seeds, {recipe.epochs} epochs, "
                    f"runs in {job.runs}"
                )
                if job.cluster:
                    continue  # the runs of all recipes are one sweep
                results = engine.bench(plan, each, reporter_of(recipe))
                if distributed.is_main:
                    stored.append([Stored(result, run.folder) for result, run in zip(results, plan, strict=True)])
            if job.cluster:
                stored = carry_out_on_cluster(job, inputs, plans, lines, reporter_of)
        except KeyboardInterrupt:
            again = options.again(*(["zoo"] if distributed.world_size == 1 else ["torchrun", "...", "-m", "zoo"]))
            lines.say(f"zoo: interrupted; every finished epoch is saved. To go on: {again}")
            raise SystemExit(INTERRUPTED) from None
    return stored
