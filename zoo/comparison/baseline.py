"""Every model of one table against a baseline: by seeds, or by images where each has one seed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.comparison.verdict import MIN_SEEDS, Sample, judge, variance_of_flips
from zoo.errors import ResultError
from zoo.results.again import bench_again
from zoo.results.folder import Tested
from zoo.results.predictions import load_predictions
from zoo.results.schema import Finished, batch_dependence
from zoo.utils.stats import ALPHA, images_p_value
from zoo.utils.waiting import watched

Seeds = Mapping[int, Tested]  # the finished runs of one row of a table
UNCOMMITTED = "uncommitted changes"
FINEST = 1e-4  # the step of a share of 10,000 images; taken for metrics that have none of their own


@dataclass(frozen=True)
class Metric:
    """A metric of quality: how it is read from a result, None where that has none, and the step that it comes in.

    `step` is called with results that have the metric.
    """

    read: Callable[[Finished], float | None]
    step: Callable[[Finished], float] = lambda result: FINEST


@dataclass(frozen=True)
class Shift:
    """A metric of quality minus the baseline's, by the tests of the accuracy, corrected for rows and metrics."""

    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Difference:
    """Accuracy minus the baseline's. `n`: seeds, the fewer of the two; `family`: the rows that were tested together.

    A verdict needs :data:`zoo.comparison.verdict.MIN_SEEDS` seeds of both, and nothing that withholds it: a seed that
    diverged, or uncommitted changes that are not allowed. Only such rows have `interval`, `p_value` and `detectable`
    (see :class:`zoo.comparison.verdict.Verdict`), and :attr:`quality`, other metrics. `batch_dependent` is that of the
    row or of the baseline, see :class:`zoo.results.schema.ModelPart`.
    """

    baseline: str
    n: int
    family: int
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    detectable: float | None
    verdict: str
    batch_dependent: int | None = None
    shifts: Callable[[], dict[str, Shift]] = field(default=dict, repr=False, compare=False)  # :attr:`quality`

    @property
    def quality(self) -> dict[str, Shift]:
        """The shifts of the other metrics, by name; those of the whole table are worked out when one is asked for."""
        return self.shifts()

    def record(self) -> dict[str, Any]:
        """All of it as plain data."""
        content = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "shifts"}
        return content | {"quality": {name: asdict(shift) for name, shift in self.quality.items()}}


def differences(
    baseline: str,
    base: Seeds,
    others: Sequence[Seeds],
    diverged: Sequence[bool],
    uncommitted: Sequence[str | None],
    quality: Mapping[str, Metric],
    margin: float,
) -> list[Difference]:
    """One :class:`Difference` from `base` for each of `others`.

    A row of which a seed `diverged`, or one of the baseline, gets no verdict; `uncommitted` is what :func:`withheld`
    says of each row. `quality`: other metrics, by name.
    `margin`: the difference in accuracy below which models count as equal.
    Raises :class:`ResultError` for predictions that are damaged or of other images.
    """

    @functools.cache
    def theirs() -> _Answers | None:
        (run,) = base.values()
        return _answers(run) if run.folder.predictions.is_file() else None

    reasons = [
        _why_not(len(base), theirs, other, lost, words)
        for other, lost, words in zip(others, diverged, uncommitted, strict=True)
    ]
    complete = [index for index, reason in enumerate(reasons) if reason is None]
    samples = [
        _accuracies(seeds, reason is None)
        for seeds, reason in watched(list(zip(others, reasons, strict=True)), "models tested")
    ]
    rows = against(baseline, _accuracies(base, bool(complete)), samples, reasons, margin)
    batches = [batch_dependence(run.result for seeds in (base, other) for run in seeds.values()) for other in others]
    columns = len(quality) + 1  # all of them are tested, and the accuracy

    @functools.cache
    def shifts() -> dict[str, dict[int, Shift]]:
        return {name: _shifts(base, others, complete, metric, columns) for name, metric in quality.items()}

    def of_row(index: int) -> dict[str, Shift]:
        return {name: by_row[index] for name, by_row in shifts().items() if index in by_row}

    return [
        replace(row, batch_dependent=batch, shifts=functools.partial(of_row, index))
        for index, (row, batch) in enumerate(zip(rows, batches, strict=True))
    ]


def against(
    baseline: str,
    base: Sample,
    others: Sequence[Sample],
    reasons: Sequence[str | None],
    margin: float,
    *,
    columns: int = 1,
    less: bool = False,
) -> list[Difference]:
    """One :class:`Difference` from `base` for each of `others`; `reasons` says why one has no verdict, if it has none.

    `columns` is that of :func:`zoo.comparison.verdict.judge`. `less`: the less of it the better.
    """
    complete = [index for index, reason in enumerate(reasons) if reason is None]
    verdicts = dict(zip(complete, judge(base, [others[index] for index in complete], columns), strict=True))
    rows = []
    for index, (other, reason) in enumerate(zip(others, reasons, strict=True)):
        verdict = verdicts.get(index)
        rows.append(
            Difference(
                baseline=baseline,
                n=min(len(base.accuracies), len(other.accuracies)),
                family=len(complete),
                difference=other.mean - base.mean if base.accuracies and other.accuracies else None,
                interval=verdict.interval if verdict else None,
                p_value=verdict.p_value if verdict else None,
                detectable=verdict.detectable if verdict else None,
                verdict=verdict.words(margin, less) if verdict else str(reason),
            )
        )
    return rows


def _accuracies(seeds: Seeds, tested: bool) -> Sample:
    """The accuracies of a row; where they are tested with the variance of independent flips: of its own images where
    they are stored.
    """
    accuracies = tuple(run.result.test.accuracy for run in seeds.values())
    if not tested:
        return Sample(accuracies, 0.0)
    images = next(iter(seeds.values())).result.test.images
    stored = list(itertools.islice((run for run in seeds.values() if run.folder.predictions.is_file()), 2))
    floor = variance_of_flips(images)
    if len(stored) == 2:
        ours, theirs = _correct(*map(_answers, stored))
        floor = variance_of_flips(images, max(1, int(np.count_nonzero(ours != theirs))) / images)
    return Sample(accuracies, floor)


def _shifts(
    base: Seeds, others: Sequence[Seeds], complete: Sequence[int], metric: Metric, columns: int
) -> dict[int, Shift]:
    """By the number of the other: what `metric` differs by from the baseline's."""

    def sample(seeds: Seeds) -> Sample | None:
        numbers = [metric.read(run.result) for run in seeds.values()]
        step = max(metric.step(run.result) for run in seeds.values())
        present = tuple(number for number in numbers if number is not None)
        return Sample(present, step**2 / 12) if len(present) == len(numbers) else None

    theirs = sample(base)
    rows = {index: row for index in complete if (row := sample(others[index]))}
    if theirs is None or not rows:
        return {}
    verdicts = judge(theirs, list(rows.values()), columns)
    return {
        index: Shift(verdict.difference, verdict.interval, verdict.p_value)
        for index, verdict in zip(rows, verdicts, strict=True)
    }


def why_not(base: int, other: int, diverged: bool, uncommitted: str | None) -> str | None:
    """In words, why a row of so many seeds has no verdict beside a baseline of `base` seeds; None where it has one.

    `uncommitted` is what :func:`withheld` says of them.
    """
    if diverged:
        return "a seed diverged"
    return uncommitted if min(base, other) >= MIN_SEEDS else f"needs {MIN_SEEDS} seeds"


def withheld(base: bool, other: bool) -> str | None:
    """In words, why a row has no verdict if the code of the baseline or of the `other` had uncommitted changes."""
    if not (base or other):
        return None
    return f"{UNCOMMITTED}{'' if other else ' of the baseline'}; no verdict"


def _why_not(
    base: int, theirs: Callable[[], _Answers | None], other: Seeds, diverged: bool, uncommitted: str | None
) -> str | None:
    """The same as :func:`why_not` of stored runs; of one seed each, whether the two networks differ."""
    reason = why_not(base, len(other), diverged, uncommitted)
    if not diverged and base == len(other) == 1:
        (ours,) = other.values()
        if ours.folder.predictions.is_file() and (read := theirs()) is not None:
            mine, its = _correct(_answers(ours), read)
            if images_p_value(int((mine & ~its).sum()), int((its & ~mine).sum())) < ALPHA:
                return f"these two runs differ; {reason}"
    return reason


class _Answers(NamedTuple):
    """For each test image its label and whether the run that has the file `path` classified it right."""

    path: Path
    labels: np.ndarray
    correct: np.ndarray


def _answers(run: Tested) -> _Answers:
    path = run.folder.predictions
    predictions = load_predictions(path, ("label", "predicted"))
    correct: np.ndarray = np.equal(predictions["label"], predictions["predicted"])
    if np.count_nonzero(correct) != run.result.test.correct:
        again = bench_again(run.result, run.folder)
        raise ResultError(f"{path}: does not belong to {run.folder.result}; train the run again with ", *again)
    return _Answers(path, predictions["label"], correct)


def _correct(first: _Answers, second: _Answers) -> tuple[np.ndarray, np.ndarray]:
    """For each test image whether each of two runs classified it right."""
    if first.labels is not second.labels and not np.array_equal(first.labels, second.labels):
        raise ResultError(f"{first.path} and {second.path} are of different test images")
    return first.correct, second.correct
