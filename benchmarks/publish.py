"""Packs a folder of runs into the package, which the word ``published`` names: ``python benchmarks/publish.py RUNS``.

It copies results, histories and predictions, without weights, in place of what was published of the same recipes, and
prints how large that is. It refuses runs that are no basis for other people's comparisons, and says which.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.comparison.groups import machine_of
from zoo.errors import ResultError, ZooError
from zoo.recipes.load import load_recipe
from zoo.results.begun import find_begun
from zoo.results.folder import FILE, RunFolder, Stored, find_results, load_all
from zoo.results.history import load_history
from zoo.results.predictions import load_predictions
from zoo.results.published import FOLDER

SEEDS = 5  # of each model at least, the same ones of all
Table = tuple[str, str]  # dataset and recipe, as folders have them


def pack(root: Path, place: Path, diverged: bool = False) -> list[Path]:
    """Copy the runs under `root` to `place`; the files there. Raises :class:`ResultError` with all that is wrong."""
    tables: dict[Table, list[Stored]] = defaultdict(list)
    for run in load_all(find_results([root])):
        tables[run.result.dataset.name, run.result.recipe.slug].append(run)
    problems = [f"not finished: {run}" for run in find_begun([root])]
    problems += [] if tables else [f"no runs under {root}"]
    problems += [line for (_, slug), runs in tables.items() for line in problems_of(slug, runs, diverged)]
    if problems:
        raise ResultError("\n".join(problems))
    files = []
    for (dataset, _), runs in tables.items():
        for old in place.glob(f"{dataset}/{runs[0].result.recipe.name}-????????"):
            shutil.rmtree(old)
        for run in runs:
            files += copied(run, place)
    return files


def copied(run: Stored, place: Path) -> list[Path]:
    """The files of `run` that are published, copied below `place`."""
    result, own = run.result, run.folder
    folder = RunFolder.of(place, result.dataset.name, result.recipe.slug, result.model.name, result.seed)
    folder.path.mkdir(parents=True)
    kept = [own.result, own.history, *([own.predictions] if result.test else [])]
    return [Path(shutil.copyfile(path, folder.path / path.name)) for path in kept]


def problems_of(slug: str, runs: Sequence[Stored], diverged: bool) -> Iterator[str]:
    """What is wrong with the `runs` of one table, in lines."""
    first = runs[0].result
    try:
        ours = load_recipe(first.recipe.name).with_precision(first.recipe.precision).fingerprint
    except ZooError:
        ours = ""
    if ours != first.recipe.fingerprint:
        yield f"{slug}: is not the recipe {first.recipe.name} of this zoo"
    if len({run.result.dataset.fingerprint for run in runs}) > 1:
        yield f"{slug}: the images of its runs differ"
    if len(machines := {machine_of(run.result) for run in runs}) > 1:
        yield f"{slug}: was run on {len(machines)} machines: {'; '.join(sorted(machines))}"
    seeds: dict[str, set[int]] = defaultdict(set)
    for run in runs:
        seeds[run.result.model.name].add(run.result.seed)
        yield from (f"{run.folder.path}: {words}" for words in problems_of_run(run, diverged))
    for model, own in seeds.items():
        if len(own) < SEEDS:
            yield f"{slug} {model}: has {len(own)} of {SEEDS} seeds"
        elif own != (common := set.union(*seeds.values())):
            yield f"{slug} {model}: lacks seeds {sorted(common - own)}, which other models have"
    count = sum(map(len, seeds.values()))
    if count < len(runs):
        yield f"{slug}: {len(runs)} runs, but {count} seeds of models; some are there twice"


def problems_of_run(run: Stored, diverged: bool) -> Iterator[str]:
    """What is wrong with one run."""
    result = run.result
    if result.git is None:
        yield "the commit of its code is not known"
    elif result.uncommitted:
        yield "its code had uncommitted changes"
    if result.moved_after:
        yield f"went on with other hardware or code after epoch {result.moved_after}"
    if result.model.definition.get("code") or result.model.definition.get("packages"):
        yield "its model is not built in"
    if result.test is None:
        if not diverged:
            yield "diverged; --diverged takes such runs"
        return
    try:
        load_history(run.folder.history)
        answers = load_predictions(run.folder.predictions)
    except ResultError as problem:
        yield f"is not complete: {problem}"
    else:
        if int((answers["label"] == answers["predicted"]).sum()) != result.test.correct:
            yield "its predictions are of another run"


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack, or exit with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of runs")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to put them [default: the package]")
    parser.add_argument("--diverged", action="store_true", help="publish runs that diverged, too")
    chosen = parser.parse_args(arguments)
    try:
        files = pack(chosen.runs, chosen.out, chosen.diverged)
    except ZooError as problem:
        sys.exit(str(problem))
    size, count = sum(path.stat().st_size for path in files), sum(path.name == FILE for path in files)
    print(f"{count} runs, {len(files)} files, {size / 1e6:.2f} MB in {chosen.out}")


if __name__ == "__main__":
    main()
