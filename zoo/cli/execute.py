"""What ``--dry-run`` and ``--cluster`` do with a job: its plan as a table, or its runs on other machines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from zoo.cli import options
from zoo.errors import EnvironmentFault

if TYPE_CHECKING:
    from zoo.cli.job import Job
    from zoo.recipes.recipe import Recipe
    from zoo.render.progress import Gathered
    from zoo.results.folder import Stored
    from zoo.results.run import Run
    from zoo.track.tracker import Tracker

OPTIONS = (
    click.option(
        "--cluster", metavar="ENGINE", help="Spread the runs: ray (on this machine), ray:ADDRESS, slurm or slurm:local."
    ),
    click.option(
        "--resources", metavar="NAME=N,...", help="Of each run on a cluster.  [default: cpu=1, a GPU's gpu=1]"
    ),
    click.option(
        "--slurm", multiple=True, metavar="KEY=VALUE", help="For Slurm's jobs: partition=gpu, time=60 (minutes) ..."
    ),
    click.option("--dry-run", is_flag=True, help="Print the plan with estimates of time; create and train nothing."),
)


def show_plan(job: Job, recipes: Sequence[Recipe], plans: Sequence[Sequence[Run]]) -> None:
    """Print every run of `plans` with its state, and what is left; what would stop the runs at once, stops here."""
    import torch

    from zoo.engine.environment import describe
    from zoo.render.estimate import render
    from zoo.runner.checks import check_models
    from zoo.runner.estimate import plan
    from zoo.runner.runs import models_of

    for recipe, runs in zip(recipes, plans, strict=True):
        check_models(models_of(runs), recipe, job.data, job.settings)
    if job.settings.device.type == "cuda" and not torch.cuda.is_available():
        environment = describe(torch.device("cpu")) | {"gpu": "a GPU of the cluster"}
    else:
        environment = describe(job.settings.device)
    if job.cluster:
        environment["threads"] = job.cluster.for_device(job.settings.device.type).cpu
    planned = {
        f"{job.data.name}, recipe {recipe.slug}, {recipe.precision}, {recipe.epochs} epochs, runs in {job.runs}": plan(
            runs, recipe, job.data, job.runs, environment, job.restart
        )
        for recipe, runs in zip(recipes, plans, strict=True)
    }
    click.echo(render(planned, environment), nl=False)


def is_elsewhere(device: str, recipes: Sequence[Recipe]) -> bool:
    """Whether `device` is a GPU that a cluster has and this machine has not.

    Raises :class:`EnvironmentFault` for a numbered GPU, and where a recipe's precision follows from a GPU not here.
    """
    import torch

    if not device.startswith("cuda"):
        return False
    if device != "cuda":
        raise EnvironmentFault(f"--device {device}: a cluster gives each run a GPU itself; use --device cuda")
    if torch.cuda.is_available():
        return False
    if any(recipe.precision == "auto" for recipe in recipes):
        raise EnvironmentFault(
            "--device cuda: no GPU here tells what the recipe's `precision: auto` is on the cluster's; "
            "add --set precision=bf16 (or fp32, fp16)"
        )
    return True


def carry_out_on_cluster(
    job: Job,
    recipes: Sequence[Recipe],
    plans: Sequence[Sequence[Run]],
    shown: Gathered,
    trackers: list[Tracker],
    git: dict[str, Any] | None,
) -> list[list[Stored]]:
    """The runs of `plans` on the job's cluster. Exits with code 2, after all have ended, where some are not stored."""
    from zoo.cluster.backends import open_engine
    from zoo.cluster.request import Source, make_request
    from zoo.cluster.sweep import Ticket, marks_in, sweep
    from zoo.results.folder import Stored, load_result
    from zoo.results.history import load_history
    from zoo.runner.estimate import OVER, look
    from zoo.track.reporter import Tracked

    resources = job.cluster.for_device(job.settings.device.type)
    source = Source(job.registry, job.dataset, job.data_dir, resources.cpu)
    tickets: list[Ticket] = []
    # Two steps of a study may be one recipe, and their runs the same.
    steps = {runs[0].folder: (recipe, runs) for recipe, runs in zip(recipes, plans, strict=True)}.values()
    done_before, total = 0, sum(len(runs) for _, runs in steps)
    with marks_in(job.runs) as marks:
        for recipe, runs in steps:
            told = Tracked(shown, shown.say, trackers, recipe, job.data, git)
            for run, (state, epoch) in zip(runs, look(runs, recipe, job.data), strict=True):
                if state in OVER:
                    done_before += 1
                    told.run(run, done_before, total)
                    told.finished(run, load_result(run.folder.result), True)
                    continue
                rows = load_history(run.folder.history)[:epoch] if epoch else []
                request = make_request(len(tickets), run, recipe, job.data, job.settings, source, marks)
                spent = sum(row.train_seconds + row.eval_seconds for row in rows)
                tickets.append(Ticket(run, recipe.epochs, request, told, rows=epoch, seconds_before=spent))
        with contextlib.redirect_stdout(sys.stderr):  # Ray tells of lost workers; stdout is for the table
            summary = sweep(
                tickets, done_before, lambda: open_engine(job.cluster, resources, job.runs, len(tickets)), marks, shown
            )
    shown.say(str(summary))
    for name, text in summary.lost.items():
        shown.say(f"zoo: {name}: lost: {text}")
    for name, line in summary.failed.items():
        shown.say(f"zoo: {name}: {line}")
    if not summary.whole:
        shown.say(
            f"zoo: {len(summary.failed) + len(summary.lost)} of {summary.runs} runs are not done; "
            f"to go on: {options.again('zoo')}"
        )
        raise SystemExit(2)
    return [[Stored(load_result(run.folder.result), run.folder) for run in runs] for runs in plans]
