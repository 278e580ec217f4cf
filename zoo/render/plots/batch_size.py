"""Test error against training batch size, from a study or from stored runs: the plot of GroupNorm's paper."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from zoo.comparison.groups import Group, only
from zoo.comparison.row import Row
from zoo.render.marks import better, marked
from zoo.render.plots.sheet import check_rows, fitting, interval_words, labels, notes_of, sheet, styles


def draw(about: str, groups: Mapping[int, Group], columns: int, path: Path, near: str | None = None) -> str:
    """One line per model, large batches on the left; `about` says what the runs are of.

    Models are chosen by their accuracy at the largest batch. Gives what is left out, as
    :func:`zoo.render.plots.sheet.fitting` says it, which also takes `near`. Raises as that,
    :func:`zoo.render.plots.sheet.check_rows` and :func:`zoo.render.figures.figure` do.
    """
    for group in groups.values():
        check_rows(group)
    kept, choice = fitting(groups[max(groups)], near)
    if choice:
        models_shown = {row.model for row in kept.rows}
        groups = dict(zip(groups, only(groups.values(), models_shown.__contains__), strict=True))
    models: dict[str, dict[int, Row]] = defaultdict(dict)
    for size, group in groups.items():
        for row in group.rows:
            models[row.model][size] = row
    models = dict(sorted(models.items()))
    every = [row for rows in models.values() for row in rows.values()]
    heads = [max(rows.values(), key=lambda row: row.batch_dependent or 0) for rows in models.values()]
    common, names = labels(heads)
    first = next(iter(groups.values()))
    gone = [f"{row.model} at {size}" for rows in models.values() for size, row in rows.items() if row.diverged]
    heading = [
        choice,
        f"{about}{', ' * bool(common)}{common}",
        interval_words(every),
        *([f"diverged: {', '.join(gone)}"] if gone else []),
        *notes_of(every),
    ]
    with sheet(path, columns, 2.2 if columns == 1 else 2.9, heading, names) as (image, legend):
        axes = image.subplots()
        handles = []
        for look, rows in zip(styles(heads), models.values(), strict=True):
            points = [
                (size, row.accuracy, row.interval)
                for size, row in sorted(rows.items())
                if row.accuracy is not None and row.interval is not None
            ]
            sizes = [size for size, _, _ in points]
            errors = [100 * (1 - mean) for _, mean, _ in points]
            below = [100 * (high - mean) for _, mean, (_, high) in points]
            above = [100 * (mean - low) for _, mean, (low, _) in points]
            handles.append(axes.errorbar(sizes, errors, [below, above], capsize=2, **look))
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(groups), [str(size) for size in groups])
        axes.minorticks_off()
        axes.invert_xaxis()
        axes.set_xlabel("training batch size")
        axes.set_ylabel(f"{marked('test error (%)', first.selection)}\n{better(smaller=True)}")
        legend(handles)
    return choice
