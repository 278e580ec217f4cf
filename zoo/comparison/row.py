"""One row of a comparison: a model's runs, one per seed, as one set of metrics."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.comparison.baseline import FINEST, Difference, Metric, differences, withheld
from zoo.comparison.speeds import ratio, speeds_of
from zoo.errors import ResultError
from zoo.results.folder import Stored, Tested
from zoo.results.schema import Caveats, Finished, batch_dependence
from zoo.utils.stats import Range, pareto_front, student_interval, wilson_interval


def _share_of_test(result: Finished) -> float:
    return 1 / result.test.images


def _share_of_train(result: Finished) -> float:
    return 1 / result.train.images if result.train else FINEST


# Metrics of quality besides the accuracy, by their names in a row.
QUALITY: dict[str, Metric] = {
    "loss": Metric(lambda result: result.test.loss),
    "top5_accuracy": Metric(lambda result: result.test.top5_accuracy, _share_of_test),
    "ece": Metric(lambda result: result.test.ece),
    "brier": Metric(lambda result: result.test.brier),
    "train_accuracy": Metric(lambda result: result.train.accuracy if result.train else None, _share_of_train),
    # Its step is the coarser of two: `train` has no more images than the test set.
    "gap": Metric(
        lambda result: result.train.accuracy - result.test.accuracy if result.train else None, _share_of_train
    ),
    "epochs_to_90_percent_of_final": Metric(lambda result: result.epochs_to_90_percent_of_final, lambda result: 1.0),
}


BALANCE = ("balanced_accuracy", "largest_class_share")


@dataclass(frozen=True)
class Row:
    """One model under one recipe. Accuracy and its 95 % interval are fractions of the test set; speeds are medians.

    `interval_kind` is ``student`` over seeds, or ``binomial`` of the test set where there is one seed. Other metrics of
    quality are means over seeds: of the test set, `train_accuracy` and `gap` (train minus test) of unaugmented images;
    `intervals` has their 95 % Student intervals, by name, where there are several seeds. `worst_seed` is the first that
    diverged, else the one of the lowest accuracy, `worst_accuracy`.
    `seconds_to` is None where one of the seeds never came so far. Everything is None where no run gives it.
    """

    model: str
    label: str
    norm: str | None
    seeds: list[int]
    accuracies: list[float | None]  # by seed; None where it diverged
    accuracy: float | None
    interval: tuple[float, float] | None
    interval_kind: str | None
    diverged: dict[int, int]  # seed -> epoch
    worst_seed: int
    worst_accuracy: float | None  # None where it diverged
    loss: float | None
    top5_accuracy: float | None
    ece: float | None
    brier: float | None
    train_accuracy: float | None
    gap: float | None
    epochs_to_90_percent_of_final: float | None
    seconds_to: float | None
    parameters: int
    macs: int
    activation_bytes: int | None
    train_images_per_second: float | None
    inference_images_per_second: float | None
    latency_p50: float | None
    latency_p99: float | None
    peak_memory_bytes: int | None
    # Of the speeds, by their names here: the quartiles of windows or repetitions; those that something disturbed, which
    # rank nothing; how many disturbed runs are left out, since others were not.
    quartiles: dict[str, Range]
    disturbed: list[str]
    left_out: dict[str, int]
    selection: str
    batch_dependent: int | None
    intervals: dict[str, tuple[float, float]]
    # Equal letters: one machine and software stack, so that speeds may be compared. Speeds and `seconds_to` are of the
    # seeds there; `elsewhere` is how many more seeds the accuracies are of.
    machine: str
    elsewhere: int
    code: list[str]  # by seed: the number of its code in the group
    against: Difference | None = None  # None for the baseline itself, and where none was asked for
    # The training speed over the baseline's, on one machine and if neither was disturbed, and half the interquartile
    # range of that ratio.
    relative_speed: float | None = None
    relative_speed_error: float | None = None
    # In a mixed table what this row's runs were made with, in one of tuned recipes the values found for the model.
    differs: dict[str, str] = field(default_factory=dict)
    # On an unbalanced test set, see :class:`zoo.results.metrics.Balance`; None on others.
    balanced_accuracy: float | None = None
    largest_class_share: float | None = None
    runs: list[Stored] = field(default_factory=list, repr=False)  # one per seed, in the order of `seeds`

    @property
    def caveats(self) -> Caveats:
        """What marks the row's accuracies."""
        replaces = dict.fromkeys(pair for run in self.runs for pair in run.result.model.replaces.items())
        unusual = dict.fromkeys(note for run in self.runs for note in run.result.dataset.notes)
        threads = dict.fromkeys(number for run in self.runs for number in run.result.caveats.auto_threads)
        return Caveats(self.selection, self.batch_dependent, tuple(replaces), tuple(unusual), tuple(threads))

    @property
    def uncommitted(self) -> bool:
        """Whether zoo's code had changes that are in no commit when some seed ran."""
        return any(run.result.uncommitted for run in self.runs)

    @property
    def tested(self) -> dict[int, Tested]:
        """The runs that finished, by seed."""
        return {
            run.result.seed: Tested(run.result, run.folder) for run in self.runs if isinstance(run.result, Finished)
        }

    def ranked(self, name: str) -> float | None:
        """The figure `name` where it may rank the row: None for a speed that something disturbed."""
        figure: float | None = getattr(self, name)
        return None if name in self.disturbed else figure

    def beside(self, base: Row, against: Difference) -> Row:
        """This row with its difference from `base`, and its training speed over that where the two can be compared."""
        name = "train_images_per_second"
        ours, theirs = self.train_images_per_second, base.train_images_per_second
        span, its = self.quartiles.get(name), base.quartiles.get(name)
        row = dataclasses.replace(self, against=against)
        if self.machine != base.machine or name in self.disturbed + base.disturbed:
            return row
        if ours is None or theirs is None or span is None or its is None:
            return row
        relative, error = ratio(ours, span, theirs, its)
        return dataclasses.replace(row, relative_speed=relative, relative_speed_error=error)

    def record(self) -> dict[str, Any]:
        """The row as plain data, without its runs, and without what only rows on unbalanced test sets have."""
        names = [part.name for part in dataclasses.fields(self) if part.name not in ("runs", *BALANCE)]
        names += [name for name in BALANCE if getattr(self, name) is not None]
        record = {name: getattr(self, name) for name in names}
        return record | {"against": self.against.record() if self.against else None}


def front(rows: Sequence[Row], name: str, *, smaller: bool) -> list[int]:
    """The places of the `rows` on the Pareto front of the accuracy and the figure `name`, as
    :func:`zoo.utils.stats.pareto_front` has them.

    A row of which a seed diverged is on none: its mean is of the seeds that went well. Nor is a disturbed speed.
    """
    costs = [None if row.diverged else row.ranked(name) for row in rows]
    points = [
        None if cost is None or row.accuracy is None else (cost, row.accuracy)
        for row, cost in zip(rows, costs, strict=True)
    ]
    return pareto_front(points, smaller=smaller)


def row_of(
    runs: Sequence[Stored], timed: Sequence[Stored], machine: str, code: list[str], seconds_to: float | None
) -> Row:
    """The row of `runs`, which are those of one model, one per seed; `timed` are those on the `machine` of that letter.

    `code` has the number of the code of each run.
    `seconds_to` is an accuracy, 0 to 1. Raises :class:`zoo.errors.ResultError` for damaged histories.
    """
    results = [run.result for run in runs]
    first = results[0]
    tested = [result for result in results if isinstance(result, Finished)]
    accuracies = [result.test.accuracy for result in tested]
    interval = kind = None
    if len(accuracies) > 1:
        interval, kind = student_interval(accuracies, resolution=_share_of_test(tested[0])), "student"
    elif accuracies:
        interval, kind = wilson_interval(tested[0].test.correct, tested[0].test.images), "binomial"

    # Over the seeds that did not diverge, where all of them have the metric.
    means: dict[str, Any] = dict.fromkeys(QUALITY)
    intervals = {}
    for name, metric in QUALITY.items():
        numbers = [number for result in tested if (number := metric.read(result)) is not None]
        if numbers and len(numbers) == len(tested):
            means[name] = statistics.fmean(numbers)
            if len(numbers) > 1:
                intervals[name] = student_interval(numbers, resolution=metric.step(tested[0]))
    balances = [balance for result in tested if (balance := result.test.balance)]
    if len(balances) > 1:
        shares = [balance.accuracy for balance in balances]
        intervals[BALANCE[0]] = student_interval(shares, resolution=_share_of_test(tested[0]))

    speeds = speeds_of(timed, seconds_to)
    memory = [run.result.speed.peak_memory_bytes for run in timed if run.result.speed.peak_memory_bytes is not None]
    worst = min(results, key=lambda result: result.test.accuracy if isinstance(result, Finished) else -1.0)
    return Row(
        model=first.model.name,
        label=first.model.label,
        norm=first.model.norm,
        seeds=[result.seed for result in results],
        accuracies=[result.test.accuracy if isinstance(result, Finished) else None for result in results],
        accuracy=statistics.fmean(accuracies) if accuracies else None,
        interval=interval,
        interval_kind=kind,
        diverged={result.seed: result.diverged_epoch for result in results if result.status == "diverged"},
        worst_seed=worst.seed,
        worst_accuracy=worst.test.accuracy if worst.test else None,
        **means,
        intervals=intervals,
        parameters=first.model.parameters,
        macs=first.model.macs,
        activation_bytes=first.model.activation_bytes,
        train_images_per_second=speeds.medians["train_images_per_second"],
        inference_images_per_second=speeds.medians["inference_images_per_second"],
        latency_p50=speeds.medians["latency_p50"],
        latency_p99=speeds.medians["latency_p99"],
        seconds_to=speeds.medians["seconds_to"],
        quartiles=speeds.quartiles,
        disturbed=speeds.disturbed,
        left_out=speeds.left_out,
        peak_memory_bytes=round(statistics.median(memory)) if memory else None,
        selection=first.selection.split,
        batch_dependent=batch_dependence(results),
        machine=machine,
        elsewhere=len(runs) - len(timed),
        code=code,
        balanced_accuracy=statistics.fmean(balance.accuracy for balance in balances) if balances else None,
        largest_class_share=balances[0].largest_class if balances else None,
        runs=list(runs),
    )


@dataclass(frozen=True)
class Against:
    """What rows are tested against, and how: see :func:`zoo.comparison.groups.compare`."""

    baseline: str
    margin: float
    allow_dirty: bool

    def tested(self, rows: Sequence[Row], where: str) -> list[Row]:
        """`rows`, the others than the baseline's with their difference from it; `where` says what they are of.

        Raises :class:`ResultError` where the baseline has several rows, or predictions are damaged.
        """
        bases = [row for row in rows if row.model == self.baseline]
        if len(bases) > 1:
            raise ResultError(
                f"baseline {self.baseline} stands in {len(bases)} rows of {where} (one seed on several machines, or "
                "its definition or tuned values differ); name the folder of one of them"
            )
        others = [row for row in rows if row.model != self.baseline]
        shifts = differences(
            self.baseline,
            bases[0].tested,
            [row.tested for row in others],
            [bool(row.diverged or bases[0].diverged) for row in others],
            [None if self.allow_dirty else withheld(bases[0].uncommitted, row.uncommitted) for row in others],
            QUALITY,
            self.margin,
        )
        return bases + [row.beside(bases[0], shift) for row, shift in zip(others, shifts, strict=True)]
