"""The runs and the trained weights that are published with zoo, which the word ``published`` names."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from zoo.errors import ResultError, unknown
from zoo.recipes.diff import differences
from zoo.results.folder import COMMITTED, FILE, RunFolder, Stored, find_results, load_all, load_result
from zoo.results.recipe_part import RecipePart
from zoo.results.run_filter import RunFilter
from zoo.results.schema import Result
from zoo.utils.text import listed

WORD = "published"
ENOUGH = 3  # seeds of a user's own, beside which the published runs of the same model are left out
FOLDER = Path(__file__).parents[1] / "published"  # <dataset>/<recipe>/<model>/seed<k>, as in a folder of runs
WEIGHTS = "cifar10-jpeg/laptop-9c06139e"  # the table whose weights are published, among the committed results

log = logging.getLogger("zoo")


def located(place: str | Path) -> Path:
    """The folder or file that a user means by `place`.

    The text ``published`` means the runs that come with zoo, ``published:NAME`` the run of that model whose weights do.
    Any other text is a path, and so is every ``Path``: ``./published`` is a folder of that name here. Where there
    is one, a line says that the word does not mean it.

    Raises :class:`ResultError` where they are not there, or are of a harness that trains otherwise, and
    :class:`zoo.errors.UnknownNameError` for a model of which no weights are published.
    """
    if not isinstance(place, str) or place.partition(":")[0] != WORD:
        return Path(place)
    if os.path.lexists(place):
        log.warning("%s: these are the runs that come with zoo; what is called so here is ./%s", place, place)
    return published_run(place.removeprefix(f"{WORD}:")) if ":" in place else published_runs()


def published_runs() -> Path:
    """The folder of the runs that come with zoo. Raises :class:`ResultError`."""
    recipes = _recipes()
    if not recipes:
        raise ResultError("this version of zoo comes without published runs; `zoo bench MODEL` makes runs")
    for recipe in recipes.values():
        if recipe.of_old:
            raise ResultError(
                f"the published runs of recipe {recipe.slug} are of another zoo, which trains otherwise than this one; "
                "install the version that they came with, or train them again"
            )
    return FOLDER


def published_run(name: str) -> Path:
    """The folder of the run of the model `name` whose weights are published: of those that are kept, the seed with the
    highest accuracy on held-out images, or the lowest seed where the recipe holds none out.

    Raises :class:`ResultError` where the repository is not there, and :class:`zoo.errors.UnknownNameError`.
    """
    table = COMMITTED / WEIGHTS
    if not table.is_dir():
        raise ResultError(
            f"{WORD}:{name}: the weights are not part of an installed zoo; they are in its repository, in "
            f"benchmarks/results/{WEIGHTS}: name a run's folder there, or install zoo from a clone"
        )
    kept = sorted(table.glob(f"*/seed*/{RunFolder(table).weights.name}"))
    if name not in (names := dict.fromkeys(path.parts[-3] for path in kept)):
        raise unknown("published model", name, names, str(table), f"there are: {', '.join(names)}")
    results = {path.parent: load_result(path.with_name(FILE)) for path in kept if path.parts[-3] == name}

    def rank(folder: Path) -> tuple[float, int]:
        holdout = results[folder].holdout
        return -(holdout.accuracy if holdout else 0.0), results[folder].seed

    best = min(results, key=rank)
    result = results[best]
    log.warning("%s:%s: seed %d, recipe %s on %s", WORD, name, result.seed, result.recipe.slug, result.dataset.name)
    return best


def is_published(folder: RunFolder) -> bool:
    """Whether the run came with zoo."""
    return str(folder.path).startswith(f"{FOLDER}{os.sep}")


def own_first(runs: Iterable[Stored]) -> list[Stored]:
    """`runs` without the published ones of a model of which there are enough other seeds; a line says so."""
    runs = list(runs)
    if not any(is_published(run.folder) for run in runs):
        return runs
    own: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for run in runs:
        if not is_published(run.folder):
            own[_what(run.result)].add(run.result.seed)
    left_out = [run for run in runs if is_published(run.folder) and len(own[_what(run.result)]) >= ENOUGH]
    if left_out:
        names = dict.fromkeys(run.result.model.name for run in left_out)
        log.warning("published runs are left out where there are own ones of %s", listed(list(names)))
    dropped = {id(run) for run in left_out}
    return [run for run in runs if id(run) not in dropped]


def beside(result: Result) -> tuple[list[Stored], str]:
    """The published runs that may be ranked with `result`; where there are only others of its recipe's name, why.

    Raises :class:`ResultError` as :func:`published_runs` does.
    """
    name = result.recipe.name
    if not any(recipe.name == name for recipe in _recipes().values()):
        return [], ""
    runs = load_all(find_results([published_runs()]), RunFilter(recipe=name))
    if alike := [run for run in runs if _what(run.result)[:2] == _what(result)[:2]]:
        return alike, ""
    first = next(run.result for run in runs if run.result.recipe.name == name)
    unlike = [
        f"{change.key} {change.a}, here {change.b}"
        for change in differences(first.recipe.content, result.recipe.content)
    ]
    if first.dataset.fingerprint != result.dataset.fingerprint:
        unlike.insert(0, f"dataset {first.dataset.name}, here {result.dataset.name} with other images")
    return [], f"the published runs of recipe {name} are not in the table: they have {listed(unlike)}"


def _what(result: Result) -> tuple[str, ...]:
    return result.dataset.fingerprint, result.recipe.fingerprint, result.model.name


def _recipes() -> dict[Path, RecipePart]:
    """The recipes of the published runs by their folders, each of whose runs have one."""
    firsts = {path.parents[1]: path for path in sorted(FOLDER.glob("*/*/*/seed*/result.json"), reverse=True)}
    return {path.parent: load_result(path).recipe for path in firsts.values()}
