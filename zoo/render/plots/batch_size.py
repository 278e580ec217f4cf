"""Test error against training batch size, from a study or from stored runs: the picture of GroupNorm's paper."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.comparison.groups import Group, compare
from zoo.comparison.row import Row
from zoo.errors import ResultError
from zoo.render.plots.sheet import check_rows, interval_words, labels, marked, sheet, slug, style, warnings_of
from zoo.results.folder import Stored
from zoo.studies.batch_size import LR_RULES


def by_size(runs: Sequence[Stored]) -> tuple[str, dict[int, Group]]:
    """What `runs` are of, in words, and their comparison by training batch size, small first.

    Raises :class:`ResultError` where they differ in more of the recipe than ``batch_size`` and ``optimizer.lr``, have
    two learning rates at one batch size, or only one batch size.
    """
    groups = compare(runs, once_each=True)
    found: dict[int, list[Group]] = defaultdict(list)
    contents = {run.result.recipe.fingerprint: run.result.recipe.content for run in runs}
    rest = set()
    for group in groups:
        content = json.loads(json.dumps(contents[group.recipe_fingerprint]))
        found[content.pop("batch_size")].append(group)
        content["optimizer"].pop("lr")
        rest.add((group.dataset_fingerprint, json.dumps(content, sort_keys=True)))
    names = ", ".join(f"{group.dataset} {slug(group)}" for group in groups)
    if len(rest) > 1:
        raise ResultError(
            f"these runs differ in more than batch size and learning rate: {names}; choose with --dataset and "
            "--recipe, or name the folder of one study"
        )
    for size, several in found.items():
        if len(several) > 1:
            raise ResultError(
                f"batch size {size} was run with {len(several)} learning rates: {names}; name one's folders"
            )
    if len(found) < 2:
        raise ResultError(f"all these runs have batch size {next(iter(found))}; `zoo study batch-size` makes others")
    chosen = {size: found[size][0] for size in sorted(found)}
    rates = {size: contents[group.recipe_fingerprint]["optimizer"]["lr"] for size, group in chosen.items()}
    first = next(iter(chosen.values()))
    epochs = contents[first.recipe_fingerprint]["epochs"]
    return f"{first.dataset}, recipe {first.recipe}, {epochs} epochs, {lr_rule(rates)}", chosen


def lr_rule(rates: Mapping[int, float]) -> str:
    """How the learning rates follow the batch sizes, in words. Rates are rounded to six digits, so nearly is enough."""
    for name, factor in LR_RULES.items():
        units = [rate / factor(size) for size, rate in rates.items()]
        if max(units) <= 1.0001 * min(units):
            return f"lr rule {name}"
    return f"lr {', '.join(f'{rate:g}' for rate in rates.values())}"


def draw(told: str, groups: Mapping[int, Group], columns: int, path: Path) -> None:
    """One line per model, large batches on the left; `told` says what the runs are of.

    Raises as :func:`zoo.render.plots.sheet.check_rows` and :func:`zoo.render.figures.figure` do.
    """
    for group in groups.values():
        check_rows(group)
    models: dict[str, dict[int, Row]] = defaultdict(dict)
    for size, group in groups.items():
        for row in group.rows:
            models[row.model][size] = row
    models = dict(sorted(models.items()))
    every = [row for rows in models.values() for row in rows.values()]
    common, names = labels([next(iter(rows.values())) for rows in models.values()])
    first = next(iter(groups.values()))
    gone = [f"{row.model} at {size}" for rows in models.values() for size, row in rows.items() if row.diverged]
    heading = [
        ", ".join([told, *([common] if common else [])]),
        interval_words(every),
        *([f"diverged: {', '.join(gone)}"] if gone else []),
        *warnings_of(first),
    ]
    with sheet(path, columns, 2.2 if columns == 1 else 2.9, heading, names) as (made, legend):
        axes = made.subplots()
        handles = []
        for number, rows in enumerate(models.values()):
            points = [(size, row) for size, row in sorted(rows.items()) if row.accuracy is not None]
            errors = [100 * (1 - row.accuracy) for _, row in points]
            below = [100 * (row.interval[1] - row.accuracy) for _, row in points]
            above = [100 * (row.accuracy - row.interval[0]) for _, row in points]
            sizes = [size for size, _ in points]
            handles.append(axes.errorbar(sizes, errors, [below, above], capsize=2, **style(number)))
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(groups), [str(size) for size in groups])
        axes.minorticks_off()
        axes.invert_xaxis()
        axes.set_xlabel("training batch size")
        axes.set_ylabel(marked("test error (%)", first))
        legend(handles)
