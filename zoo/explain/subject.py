"""What all images of one run are made from: the run, test images, and the model's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.datasets import Dataset
from zoo.data.loader import EvalLoader
from zoo.data.test_sets import ShiftedSet
from zoo.engine.evaluate import Evaluation, evaluate, evaluation_batch
from zoo.engine.machine import exact_float32
from zoo.errors import DataError, ResultError
from zoo.render.marks import SPLITS, marks_of, percent
from zoo.results.history import EpochRow, load_history
from zoo.results.predictions import load_predictions
from zoo.trained.load import TrainedRun

NEAR_TIES = 0.002  # of all images: what another processor or batch size may round to another class


@dataclass(frozen=True)
class Subject:
    """A trained run, and the test images of `data`: (N, H, W, 3) uint8 with `labels` (N,) int64."""

    run: TrainedRun
    data: Dataset | ShiftedSet
    images: np.ndarray
    labels: np.ndarray
    history: list[EpochRow]
    device: torch.device

    @property
    def classes(self) -> list[str]:
        """Class names by label."""
        return self.run.result.dataset.classes

    @property
    def own(self) -> bool:
        """Whether the images are the ones that the run was tested on."""
        return isinstance(self.data, Dataset) and self.data.fingerprint == self.run.result.dataset.fingerprint

    @property
    def norm_label(self) -> str:
        """The norm's name for people; the model's where it has no norm of the registry."""
        norm = self.run.model.norm
        return (norm.label or norm.name) if norm else self.run.model.label

    @property
    def chosen(self) -> str:
        """Which epoch's weights these are, and why."""
        selection = self.run.result.selection
        if selection.rule == "last":
            return f"epoch {selection.epoch}, the last"
        return f"epoch {selection.epoch}, the best by {selection.metric} on the {SPLITS[selection.split]}"

    @property
    def line(self) -> str:
        """The run and its accuracy in one line, which stands on every image."""
        result = self.run.result
        mark = marks_of(result.caveats)
        return (
            f"{self.run.model.name} ({self.norm_label}), recipe {result.recipe.slug}, seed {result.seed}: "
            f"{percent(self.evaluation.accuracy)} %{mark} of {len(self.labels):,} {self.data.name} test images"
        )

    @cached_property
    def evaluation(self) -> Evaluation:
        """The logits of all images, in the run's own precision, layout, executor and test-time augmentation.

        Raises :class:`ResultError` where a logit is not a number.
        """
        loader, run = self.loader(np.arange(len(self.labels))), self.run
        evaluation = evaluate(run.load(self.device), loader, self.device, run.precision, run.tta)
        if not evaluation.finite:
            raise ResultError(f"{run.folder.path}: a logit of the model is not a number, so there is nothing to show")
        return evaluation

    @cached_property
    def warnings(self) -> list[str]:
        """Lines for page and output: what the run stored of its test images and does not come out, near ties aside."""
        if not self.own:
            return []
        evaluation, stored, predictions = self.evaluation, self.run.result.test, self.run.folder.predictions
        images = len(self.labels)
        if predictions.is_file():
            kept = load_predictions(predictions)
            if not np.array_equal(kept["label"], self.labels):
                return [
                    f"{predictions.name} holds other images than the run's test set, so it is not the file of this run"
                ]
            differing = int((kept["predicted"] != evaluation.predicted).sum())
            how = f"predictions differ from {predictions.name}"
        else:
            differing = abs(round(evaluation.accuracy * images) - stored.correct)
            how = "more or fewer images are classified correctly than in result.json"
        if differing <= max(2, round(NEAR_TIES * images)):
            return []
        return [
            f"{differing:,} of {images:,} {how} (accuracy stored {percent(stored.accuracy)} %, "
            f"now {percent(evaluation.accuracy)} %): another processor or GPU, another version of torch, "
            "or weights that are not this run's"
        ]

    @cached_property
    def mistakes(self) -> np.ndarray:
        """Rows of misclassified images, the most confident first; among equals the first image first."""
        rows = np.flatnonzero(self.evaluation.predicted != self.labels)
        return rows[np.argsort(-self.evaluation.confidence[rows], kind="stable")]

    @cached_property
    def model(self) -> nn.Module:
        """The trained weights in fp32, in eval mode, with no activation in place: for gradients and layer outputs.

        It is a model built anew from the stored file, so nothing done to it reaches the run.
        """
        model = self.run.load(self.device).float()
        for module in model.modules():
            if getattr(module, "inplace", False) is True:  # it would overwrite the output of the layer before it
                vars(module)["inplace"] = False
        return model

    def batch(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """(len(rows), 3, H', W') float32 on the device: test images as the model sees them."""
        return torch.cat([images for images, _ in self.loader(rows)])

    def loader(self, rows: Sequence[int] | np.ndarray, batch_size: int | None = None) -> EvalLoader:
        """Batches of test images `rows` through the run's evaluation transforms."""
        size = batch_size or evaluation_batch(self.device)
        return self.run.loader(self.images, self.labels, size, self.device, np.asarray(rows))


def open_subject(run: TrainedRun, data: Dataset | ShiftedSet, device: torch.device) -> Subject:
    """The run with the test images of `data`, checked; nothing is evaluated yet.

    Raises :class:`ResultError` for a damaged file of the run or images of another size than it was trained on. Raises
    :class:`DataError` for a test set that holds corrupted images only.
    """
    history = load_history(run.folder.history)
    if isinstance(data, ShiftedSet) and data.corruptions:
        raise DataError(
            f"{data.name} has corrupted images only ({data.source}); "
            "explain the run on a set of plain images, such as the run's own, and use `zoo evaluate` for this one"
        )
    if isinstance(data, Dataset):
        images, labels = data.test.images, data.test.labels
    else:
        images, labels = data.part(), data.labels
    exact_float32()  # as when the run was tested
    subject = Subject(run, data, images, labels, history, device)
    run.check_size(subject.model, subject.batch([0]), data.name)
    return subject


def one_of_each(labels: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `rows`: the first row of every class, then the second of every class, and so on."""
    mine = labels[rows]
    rank = np.zeros(len(rows), dtype=np.int64)
    for label in np.unique(mine):
        rank[mine == label] = np.arange((mine == label).sum())
    return rows[np.lexsort((mine, rank))][:count]
