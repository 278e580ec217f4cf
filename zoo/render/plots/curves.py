"""Learning curves: accuracy by epoch, the mean over seeds with a band from the lowest to the highest."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from zoo.comparison.groups import Group
from zoo.comparison.row import Row
from zoo.errors import ResultError
from zoo.render.comparison import diverged_of
from zoo.render.marks import SPLITS, better, marked
from zoo.render.plots.sheet import about, check_rows, fitting, labels, notes_of, sheet, styles
from zoo.results.folder import Stored
from zoo.results.history import EpochRow, load_history


@dataclass(frozen=True)
class Curve:
    """One model by epoch: percent of the selection split (mean, lowest, highest of the seeds), percent of the augmented
    training images (mean), learning rate (mean). `seeds` counts the runs that finished; `stopped` has, of each that
    diverged, the last epoch and its accuracy.
    """

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    train: list[float]
    rates: list[float]
    seeds: int
    stopped: list[tuple[int, float]]


def curve_of(row: Row) -> Curve:
    """The curve of the runs that `row` pools.

    Raises :class:`ResultError` for a history that is missing, damaged or shorter than its result says, and where the
    recipe evaluates no split while it trains.
    """
    histories = {run.result.seed: _history(run) for run in row.runs}
    whole = [history for seed, history in histories.items() if seed not in row.diverged]
    stopped = [history[-1] for seed, history in histories.items() if seed in row.diverged and history]
    if len({len(history) for history in whole}) > 1:
        raise ResultError(f"the seeds of {row.model} have histories of unlike lengths; a file was edited")
    by_epoch = list(zip(*whole, strict=True))
    shares = [[_percent(line) for line in lines] for lines in by_epoch]
    return Curve(
        epochs=[lines[0].epoch for lines in by_epoch],
        mean=[statistics.fmean(values) for values in shares],
        low=[min(values) for values in shares],
        high=[max(values) for values in shares],
        train=[100 * statistics.fmean(line.running_train_accuracy for line in lines) for lines in by_epoch],
        rates=[statistics.fmean(line.lr for line in lines) for lines in by_epoch],
        seeds=len(whole),
        stopped=[(line.epoch, _percent(line)) for line in stopped],
    )


def _percent(line: EpochRow) -> float:
    return 100 * (line.eval_accuracy or 0.0)  # :func:`_history` lets no None pass


def _history(run: Stored) -> list[EpochRow]:
    if not run.result.epochs_trained:
        return []  # it diverged before the first epoch's end: there is no file
    history = load_history(run.folder.history)
    if len(history) != run.result.epochs_trained:
        raise ResultError(
            f"{run.folder.history}: has {len(history)} epochs, its result says {run.result.epochs_trained}; "
            "the file was damaged or edited"
        )
    if any(line.eval_accuracy is None for line in history):
        raise ResultError(f"{run.folder.history}: the recipe evaluates no split while it trains: there is no curve")
    return history


def draw(group: Group, rates: bool, columns: int, path: Path, near: str | None = None) -> str:
    """One line per row of `group`, in the order of the table; thin and dotted the running train accuracy.

    `rates` adds the learning rate below. `columns`: 1 or 2 of a paper. Gives what is left out, as
    :func:`zoo.render.plots.sheet.fitting` says it, which also takes `near`. Raises as that, :func:`curve_of` and
    :func:`zoo.render.figures.figure` do.
    """
    check_rows(group)
    group, choice = fitting(group, near)
    common, names = labels(group.rows)
    curves = [curve_of(row) for row in group.rows]
    split = SPLITS[group.selection]
    several = any(curve.seeds > 1 for curve in curves)
    entries = [*map(_entry, names, group.rows, curves), "running train accuracy, augmented images (dotted)"]
    heading = [
        about(group, common),
        choice,
        f"{split} accuracy" + (", mean over seeds; band: lowest to highest seed" if several else ", 1 seed"),
        *notes_of(group.rows),
    ]
    unlike = any(curve.rates != curves[0].rates for curve in curves)  # a plateau schedule follows each run's own loss
    body = (2.2 if columns == 1 else 2.9) + 0.8 * rates
    with sheet(path, columns, body, heading, entries) as (image, legend):
        panels = image.subplots(1 + rates, sharex=True, squeeze=False, height_ratios=[3.2, 1][: 1 + rates])
        upper, *lower = panels[:, 0]
        handles = []
        for number, (curve, look) in enumerate(zip(curves, styles(group.rows), strict=True)):
            every = max(1, len(curve.epochs) // 10)  # markers, of which a long training has too many
            look |= {"markevery": (number % every, every)}
            upper.plot(curve.epochs, curve.train, color=look["color"], linewidth=0.7, linestyle=":")
            if curve.seeds > 1:
                upper.fill_between(curve.epochs, curve.low, curve.high, color=look["color"], alpha=0.18, linewidth=0)
                for end in (curve.low, curve.high):
                    upper.plot(curve.epochs, end, color=look["color"], linewidth=0.3)
            handles += upper.plot(curve.epochs, curve.mean, **look)
            for epoch, accuracy in curve.stopped:
                upper.plot([epoch], [accuracy], color=look["color"], marker="x", markersize=7, markeredgewidth=1.6)
            for axes in lower if unlike else []:
                axes.plot(curve.epochs, curve.rates, **look)
        handles += upper.plot([], [], color="#555555", linewidth=0.7, linestyle=":")
        upper.set_ylabel(f"{marked(f'{split} accuracy (%)', group.selection)}\n{better(smaller=False)}")
        for axes in lower:
            if not unlike:
                axes.plot(curves[0].epochs, curves[0].rates, color="#555555")
            axes.set_ylabel("learning rate")
            axes.set_ylim(bottom=0)
        bottom = lower[-1] if lower else upper
        bottom.set_xlabel("epoch")
        bottom.xaxis.get_major_locator().set_params(integer=True)
        legend(handles)
    return choice


def _entry(name: str, row: Row, curve: Curve) -> str:
    if not row.diverged:
        return name
    return f"{name} ({diverged_of(row)}{', marked ×' * bool(curve.stopped)})"
