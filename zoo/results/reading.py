"""Stored runs by where they are and what they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from zoo.errors import UnknownNameError, unknown
from zoo.results.begun import Begun, begun_in, no_results
from zoo.results.folder import Stored, find_runs, load_all
from zoo.results.published import located, own_first
from zoo.results.run_filter import RunFilter

Roots = str | Path | Iterable[str | Path]


class Runs(list[Stored]):
    """Stored runs; `begun` are those beside them that are not finished."""

    begun: Sequence[Begun] = ()


def read_runs(
    runs: Roots,
    dataset: str | None = None,
    recipe: str | None = None,
    model: str | Sequence[str] = (),
    matrix: bool = False,
) -> Runs:
    """The stored runs under `runs`, of those only what `dataset`, `recipe` and `model` choose.

    `matrix` is that of :func:`zoo.results.folder.load_all`.

    Raises :class:`zoo.errors.ResultError` for no or damaged runs, :class:`zoo.errors.UnknownNameError` for a choice
    that no run meets.
    """
    roots = roots_of(runs)
    results, folders = find_runs(roots)
    if not results:
        raise no_results(roots)
    wanted = RunFilter(dataset, recipe, (model,) if isinstance(model, str) else tuple(model))
    try:
        stored = _of(wanted, load_all(results, wanted, matrix))
    except UnknownNameError:  # which names all runs
        stored = _of(wanted, load_all(results, matrix=matrix))
    read = Runs(own_first(stored))
    read.begun = begun_in(folders, wanted)
    return read


def roots_of(runs: Roots) -> list[Path]:
    """The folders and files that `runs` stands for. Raises as :func:`zoo.results.published.located` does."""
    return [located(root) for root in ([runs] if isinstance(runs, str | Path) else runs)]


def _of(wanted: RunFilter, stored: list[Stored]) -> list[Stored]:
    """Those of `stored` that are `wanted`. Raises :class:`zoo.errors.UnknownNameError` where none is."""
    stored = _chosen(stored, "data set", wanted.dataset, [(run.result.dataset.name,) for run in stored])
    recipes = [(run.result.recipe.name, run.result.recipe.slug) for run in stored]
    stored = _chosen(stored, "recipe", wanted.recipe, recipes)
    shown = named(stored, wanted.models)
    return [run for run in stored if shown(run.result.model.name)]


def named(stored: Sequence[Stored], model: str | Sequence[str]) -> Callable[[str], bool]:
    """Whether a name is of the patterns `model`, each of which some of `stored` meets; of none, every name is."""
    patterns = [model] if isinstance(model, str) else list(model)
    names = {run.result.model.name for run in stored}
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise unknown("model pattern", pattern, names, "the stored runs")
    return lambda name: not patterns or any(fnmatch(name, pattern) for pattern in patterns)


def _chosen(stored: list[Stored], kind: str, choice: str | None, names: Sequence[tuple[str, ...]]) -> list[Stored]:
    """Those of `stored` one of whose `names` is `choice`; all where there is none."""
    if choice is None:
        return stored
    choices = {name for several in names for name in several}
    if choice not in choices:
        raise unknown(kind, choice, choices, "the stored runs", f"stored: {', '.join(sorted(choices))}")
    return [run for run, several in zip(stored, names, strict=True) if choice in several]
