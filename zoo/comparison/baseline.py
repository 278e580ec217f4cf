"""Every model of one table against a baseline: paired by seed, or by image where only one seed is common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zoo.errors import Option, ResultError
from zoo.results.folder import Tested, load_predictions
from zoo.results.schema import Finished
from zoo.utils.stats import Paired, holm, paired_difference, paired_images, verdict

Seeds = Mapping[int, Tested]  # the finished runs of one row of a table
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
    """A metric of quality minus the baseline's: mean over common seeds, 95 % interval, p-value of the paired t-test.

    The p-value is corrected by Holm over the rows of the table.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Difference:
    """Accuracy minus the baseline's: mean, 95 % interval, p-value corrected by Holm over the table.

    `method`: ``paired t`` over `pairs` common seeds, whose differences have the standard deviation `spread`; or
    ``mcnemar`` over the test images where one seed is common, which tells two trained networks apart and not two
    models; None where neither can be done. `quality`: other metrics, by name, where two seeds or more are common.
    """

    baseline: str
    pairs: int
    method: str | None
    difference: float | None
    interval: tuple[float, float] | None
    spread: float | None
    p_value: float | None
    verdict: str
    quality: dict[str, Shift]


def differences(
    baseline: str,
    base: Seeds,
    others: Sequence[Seeds],
    diverged: Sequence[bool],
    images: int,
    quality: Mapping[str, Metric],
) -> list[Difference]:
    """One :class:`Difference` from `base` for each of `others`; `images` is the size of the test set.

    A row of which a seed `diverged`, or one of the baseline, gets its metrics of `quality` and no verdict.
    Raises :class:`ResultError` for predictions that are damaged or of other images.
    """
    paired = [_paired(other, base, images) for other in others]
    corrected = _corrected(paired)
    shifts = {name: _shifts(base, others, metric) for name, metric in quality.items()}
    rows = []
    for index, (pair, other) in enumerate(zip(paired, others, strict=True)):
        pairs = len(base.keys() & other.keys())
        seeds = min(len(base), len(other))
        rows.append(
            Difference(
                baseline=baseline,
                pairs=pairs,
                method=None if pair is None else "mcnemar" if pairs == 1 else "paired t",
                difference=pair.difference if pair else None,
                interval=pair.interval if pair else None,
                spread=pair.spread if pair else None,
                p_value=corrected.get(index),
                verdict="a seed diverged" if diverged[index] else verdict(pair, corrected.get(index), seeds),
                quality={name: by_row[index] for name, by_row in shifts.items() if index in by_row},
            )
        )
    return rows


def _shifts(base: Seeds, others: Sequence[Seeds], metric: Metric) -> dict[int, Shift]:
    """By the number of the other: what `metric` differs by from the baseline's."""

    def measured(seeds: Seeds) -> dict[int, float]:
        return {seed: share for seed, run in seeds.items() if (share := metric.read(run.result)) is not None}

    theirs = measured(base)
    step = max((metric.step(base[seed].result) for seed in theirs), default=FINEST)
    paired = [paired_difference(measured(other), theirs, step) for other in others]
    corrected = _corrected(paired)
    return {i: Shift(pair.difference, pair.interval, corrected[i]) for i, pair in enumerate(paired) if pair}


def _corrected(paired: Sequence[Paired | None]) -> dict[int, float]:
    """The p-values of those that were tested, by their number, corrected by Holm."""
    tested = {index: pair.p_value for index, pair in enumerate(paired) if pair is not None}
    return dict(zip(tested, holm(list(tested.values())), strict=True))


def _paired(ours: Seeds, theirs: Seeds, images: int) -> Paired | None:
    common = ours.keys() & theirs.keys()
    if len(common) == 1:
        (seed,) = common
        return _by_image(ours[seed], theirs[seed])
    mine, other = ({seed: run.result.test.accuracy for seed, run in side.items()} for side in (ours, theirs))
    return paired_difference(mine, other, 1 / images)


def _by_image(ours: Tested, theirs: Tested) -> Paired | None:
    """None where one of the runs has no predictions stored beside its result."""
    if not (ours.folder.predictions.is_file() and theirs.folder.predictions.is_file()):
        return None
    mine, other = load_predictions(ours.folder.predictions), load_predictions(theirs.folder.predictions)
    for run, predictions in ((ours, mine), (theirs, other)):
        if int((predictions["label"] == predictions["predicted"]).sum()) != run.result.test.correct:
            raise ResultError(
                f"{run.folder.predictions}: is not of the run in {run.folder.result}; give ",
                Option("restart"),
                " to run it again",
            )
    if mine["label"].tolist() != other["label"].tolist():
        raise ResultError(f"{ours.folder.predictions} and {theirs.folder.predictions} are of other images")
    right, wrong = mine["label"] == mine["predicted"], other["label"] == other["predicted"]
    return paired_images(int((right & ~wrong).sum()), int((~right & wrong).sum()), len(right))
