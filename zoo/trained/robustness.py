"""Trained runs on other images: another test set, corrupted pixels, other test batch sizes. Runs in, records out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from zoo.data.augment.corrupt import corrupt
from zoo.data.datasets import Dataset
from zoo.data.split import SUBSET_SEED, stratified_subset
from zoo.data.test_sets import ShiftedSet
from zoo.engine.evaluate import BatchStatistics, Evaluation, evaluate, evaluation_batch
from zoo.engine.guard import guarded
from zoo.engine.machine import exact_float32
from zoo.errors import DataError, Option
from zoo.results.metrics import Balance
from zoo.results.schema import Caveats
from zoo.trained.load import TrainedRun
from zoo.utils.memory import size, usable_memory
from zoo.utils.seeding import derive

RUNNING, BATCH = "eval", "batch statistics"


@dataclass(frozen=True)
class Record:
    """One run under one condition. Shares are 0 to 1, losses nats; None where there is no figure, `missing` says why.

    `trained_on` and `stored_accuracy` are the run's own dataset and its accuracy on all its test images when it was
    trained; `same_as_stored` whether that came out again, None where something else was evaluated.
    `dataset_fingerprint` is None for a test-only set; `pixels` is the SHA-256 (16 digits) of images and labels, equal
    where two records saw the same. `gap` is the accuracy lost: against the uncorrupted images under the same mode and
    batch size where these were evaluated too, else against `stored_accuracy`; None on the run's own test images.
    """

    model: str
    norm: str | None
    seed: int
    recipe: str
    recipe_fingerprint: str
    selection: str
    precision: str
    trained_on: str
    trained_on_fingerprint: str
    stored_accuracy: float
    dataset: str
    dataset_fingerprint: str | None
    corruption: str | None
    severity: int | None
    mode: str  # RUNNING or BATCH
    batch_size: int
    images: int
    pixels: str
    accuracy: float | None
    top5_accuracy: float | None
    loss: float | None
    ece: float | None
    brier: float | None
    same_as_stored: bool | None
    missing: str | None
    gap: float | None = None
    balanced_accuracy: float | None = None  # this and the next: on an unbalanced test set
    largest_class_share: float | None = None
    batch_dependent: int | None = None
    commit: str | None = None  # of zoo's code, and whether that had changes that are in no commit
    uncommitted: bool = False
    unusual: list[str] = field(default_factory=list)  # notes on the data that it was trained and tested on

    @property
    def caveats(self) -> Caveats:
        """What marks the accuracies."""
        return Caveats(self.selection, self.batch_dependent, unusual=tuple(self.unusual))


@dataclass(frozen=True)
class Condition:
    """Images to evaluate on, made when they are asked for: (N, H, W, 3) uint8 and labels (N,) int64.

    `fingerprint` is the dataset's, None for a test-only set; `whole`: these are all of its test images.
    """

    dataset: str
    fingerprint: str | None
    whole: bool
    corruption: str | None
    severity: int | None
    load: Callable[[], tuple[np.ndarray, np.ndarray]]

    @property
    def label(self) -> str:
        """For progress lines."""
        return f"{self.dataset}, {self.corruption} {self.severity}" if self.corruption else self.dataset


@dataclass(frozen=True)
class Pass:
    """How a model goes over the images: `mode` is ``RUNNING`` (evaluation as usual) or ``BATCH``.

    `batch_size` None is the device's usual one, images in order; any other takes them in one fixed random order, so
    that a batch holds all classes.
    """

    batch_size: int | None = None
    mode: str = RUNNING


def conditions(
    data: Dataset | ShiftedSet, corruptions: Sequence[str], severities: Sequence[int], limit: int | None = None
) -> list[Condition]:
    """The test images of `data`, then every corruption of them in every severity; at most `limit` images, stratified.

    A set that comes corrupted (CIFAR-10-C) gives its own corruptions, and no images without one.
    Raises :class:`zoo.errors.DataError` for a damaged file of such a set.
    """
    labels = data.labels if isinstance(data, ShiftedSet) else data.test.labels
    fingerprint = None if isinstance(data, ShiftedSet) else data.fingerprint
    rows = np.arange(len(labels))
    if limit is not None and limit < len(labels):
        rows = stratified_subset(labels, limit, SUBSET_SEED)

    def images(corruption: str | None, severity: int) -> np.ndarray:
        if isinstance(data, ShiftedSet) and data.corruptions:
            clean, corruption = data.part(corruption, severity), None
        else:
            clean = data.part() if isinstance(data, ShiftedSet) else data.test.images
        if corruption is None and len(rows) == len(clean):
            return clean  # mapped, for it may be larger than memory
        _check_room(data.name, clean, len(rows))
        return clean[rows] if corruption is None else corrupt(clean, corruption, severity, rows)

    def of(corruption: str | None = None, severity: int = 1) -> Condition:
        whole, level = len(rows) == len(labels), None if corruption is None else severity
        return Condition(
            data.name, fingerprint, whole, corruption, level, lambda: (images(corruption, severity), labels[rows])
        )

    if isinstance(data, ShiftedSet):
        for name in corruptions if data.corruptions else (None,):
            data.part(name)  # a damaged file is noticed before the first long evaluation
    corrupted = [of(name, severity) for name in corruptions for severity in severities]
    return corrupted if isinstance(data, ShiftedSet) and data.corruptions else [of(), *corrupted]


def _check_room(name: str, images: np.ndarray, count: int) -> None:
    """Raise :class:`zoo.errors.DataError` where a copy of `count` of the `images` would take half of the memory."""
    each, room = int(np.prod(images.shape[1:])), usable_memory() // 2
    if count * each > room:
        height, width = images.shape[1:3]
        raise DataError(
            f"{name}: {count:,} test images of {width}x{height} pixels, changed, take {size(count * each)} of memory, "
            f"of which {size(room)} are for them; give ",
            Option("limit", str(max(1, room // each))),
        )


def evaluate_runs(
    runs: Sequence[TrainedRun],
    todo: Sequence[Condition],
    passes: Sequence[Pass],
    device: torch.device,
    say: Callable[[str], None],
) -> list[Record]:
    """Every run under every condition of `todo` in every pass, one record each; `say` gets a line of progress for each.

    Each run has its recipe's evaluation transforms and precision, and its stored layout. Images are made once per
    condition, for all runs. Raises :class:`~zoo.errors.ResultError` for weights that do not fit or images that a model
    does not take.
    """
    exact_float32()  # as when the run was tested
    records: list[Record] = []
    for number, condition in enumerate(todo):
        pixels = _Pixels(*condition.load())
        for index, run in enumerate(runs):
            model = run.load(device)
            if number == 0:
                first, _ = next(iter(run.loader(pixels.images[:1], pixels.labels[:1], 1, device)))
                run.check_size(model, first, condition.dataset)
            with guarded(str(run.folder.path), "evaluation"):
                new = [_record(run, condition, pixels, _measure(run, model, pixels, way, device)) for way in passes]
            records += new
            shares = ["-" if record.accuracy is None else f"{100 * record.accuracy:.2f} %" for record in new]
            done = f"[{number * len(runs) + index + 1}/{len(todo) * len(runs)}]"
            say(f"{done} {run.model.name} seed {run.result.seed} on {condition.label}: {', '.join(shares)}")
    return _with_gaps(records)


@dataclass(frozen=True)
class _Pixels:
    """A condition's images and labels."""

    images: np.ndarray
    labels: np.ndarray

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of both, 16 digits."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Measured:
    """What one pass gave."""

    mode: str
    batch_size: int
    evaluation: Evaluation | None
    missing: str | None = None


def _measure(run: TrainedRun, model: nn.Module, pixels: _Pixels, way: Pass, device: torch.device) -> _Measured:
    order, batch_size = None, evaluation_batch(device)
    if way.batch_size is not None:
        keys = np.random.Generator(np.random.Philox(key=derive("evaluate", "order"))).random(len(pixels.labels))
        order, batch_size = np.argsort(keys, kind="stable"), way.batch_size
    if way.mode == BATCH:
        model = by_batch = BatchStatistics(model)
        if not by_batch.layers:
            return _Measured(way.mode, batch_size, None, "no layer uses batch statistics")
    loader = run.loader(pixels.images, pixels.labels, batch_size, device, order)
    try:
        evaluation = evaluate(model, loader, device, run.precision, run.tta)
    except ValueError as problem:
        # The word of torch, and of zoo's norms, for one value that should have a variance.
        if "more than 1 value per channel" not in str(problem):
            raise
        return _Measured(way.mode, batch_size, None, "a single value per channel has no variance")
    if not evaluation.finite:
        return _Measured(way.mode, batch_size, None, "an output of the model is not a number")
    return _Measured(way.mode, batch_size, evaluation)


def _record(run: TrainedRun, condition: Condition, pixels: _Pixels, measured: _Measured) -> Record:
    result, evaluation, same = run.result, measured.evaluation, None
    own = condition.fingerprint == result.dataset.fingerprint and condition.whole and condition.corruption is None
    if own and evaluation and measured.mode == RUNNING:
        same = evaluation.accuracy == result.test.accuracy
    images = np.bincount(pixels.labels, minlength=len(result.dataset.classes)).tolist()
    balance = Balance.of(images, evaluation.recalls()) if evaluation else None
    whose = "" if condition.fingerprint == result.dataset.fingerprint else "The run's own data, "
    return Record(
        model=run.model.name,
        norm=result.model.norm,
        seed=result.seed,
        recipe=result.recipe.name,
        recipe_fingerprint=result.recipe.fingerprint,
        selection=result.selection.split,
        precision=run.precision,
        trained_on=result.dataset.name,
        trained_on_fingerprint=result.dataset.fingerprint,
        stored_accuracy=result.test.accuracy,
        dataset=condition.dataset,
        dataset_fingerprint=condition.fingerprint,
        corruption=condition.corruption,
        severity=condition.severity,
        mode=measured.mode,
        batch_size=measured.batch_size,
        images=len(pixels.labels),
        pixels=pixels.digest,
        accuracy=evaluation.accuracy if evaluation else None,
        top5_accuracy=evaluation.top5_accuracy if evaluation else None,
        loss=evaluation.loss if evaluation else None,
        ece=evaluation.expected_calibration_error() if evaluation else None,
        brier=evaluation.brier if evaluation else None,
        same_as_stored=same,
        missing=measured.missing,
        balanced_accuracy=balance.accuracy if balance else None,
        largest_class_share=balance.largest_class if balance else None,
        batch_dependent=result.model.batch_dependent,
        commit=result.commit,
        uncommitted=result.uncommitted,
        unusual=[f"{whose}{note}" for note in result.dataset.notes],
    )


def _with_gaps(records: Sequence[Record]) -> list[Record]:
    def key(record: Record) -> tuple[object, ...]:
        who = (record.model, record.seed, record.recipe_fingerprint, record.trained_on_fingerprint)
        return *who, record.dataset, record.mode, record.batch_size

    clean = {key(record): record.accuracy for record in records if record.corruption is None}

    def with_gap(record: Record) -> Record:
        base: float | None = record.stored_accuracy
        if record.corruption is not None:
            base = clean.get(key(record), base)
        elif record.dataset_fingerprint == record.trained_on_fingerprint:
            base = None
        return record if base is None or record.accuracy is None else replace(record, gap=base - record.accuracy)

    return [with_gap(record) for record in records]
