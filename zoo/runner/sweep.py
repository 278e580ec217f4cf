"""Models x seeds: plan the runs, do what is not done, keep what is. Every model gets the same recipe and data."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from zoo.engine.reporter import Reporter
from zoo.errors import RegistryError
from zoo.results.folder import load_result, make_folder
from zoo.results.run import Run, models_of
from zoo.results.schema import Result
from zoo.runner.checks import Failures
from zoo.runner.identity import check_identity, identity_of, identity_of_result
from zoo.runner.inputs import Inputs
from zoo.runner.run_one import run_one
from zoo.utils.files import remove_leftovers
from zoo.utils.lock import lock


def clear(runs: Sequence[Run]) -> None:
    """Throw away what `runs` have stored. Raises :class:`zoo.errors.RunBusyError` where another process is at one."""
    for run in runs:
        with lock(run.folder.path):
            run.folder.clear()


def bench(runs: Sequence[Run], inputs: Inputs, reporter: Reporter, failures: Failures | None = None) -> list[Result]:
    """Do every run that has no result yet and give all results, in the order of `runs`.

    Where `failures` are given, a model whose code fails in a run ends there, by its name, and the others go on; runs of
    a model that is among them already are left out.

    All processes of ``inputs.settings.distributed`` call it together; the results are the first's, the others give
    none. Raises :class:`zoo.errors.RunBusyError` when another process is at one of the runs,
    :class:`zoo.errors.ResultError` when a stored run is of another definition of the model or of other data, and what
    :func:`run_one` raises.
    """
    identities = {model.name: identity_of(model, inputs) for model in models_of(runs)}
    distributed = inputs.settings.distributed
    results: list[Result] = []
    result: Result | None
    for number, run in enumerate(runs, 1):
        if failures is not None and run.model.name in failures:
            continue
        reporter.run(run, number, len(runs))
        identity = identities[run.model.name]
        with lock(run.folder.path) if distributed.is_main else contextlib.nullcontext():
            if distributed.is_main:
                remove_leftovers(run.folder.path, locked=True)
            was_done = distributed.broadcast(run.folder.result.is_file())
            if was_done:
                result = load_result(run.folder.result)
                check_identity(run.folder, run.model, identity_of_result(result), identity)
                if distributed.is_main:
                    run.folder.forget_state()
            else:
                make_folder(run.folder)
                try:
                    result = run_one(run, inputs, reporter, identity=identity)
                except RegistryError as problem:
                    if not run.folder.state.exists():  # nothing of it is worth resuming
                        run.folder.forget_state()
                    if failures is None or distributed.world_size > 1:  # where the other processes would wait
                        raise
                    failures[run.model.name] = problem
                    reporter.failed(run, problem)
                    continue
        if distributed.is_main and result is not None:
            reporter.finished(run, result, was_done)
            results.append(result)
    return results
