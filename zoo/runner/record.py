"""What a run measured, as the parts of its result."""

from __future__ import annotations

import statistics
from dataclasses import fields

from torch import nn

from zoo.builder import notes
from zoo.engine import speed, train
from zoo.engine.counts import count_activation_bytes, count_macs, count_parameters
from zoo.engine.evaluate import Evaluation
from zoo.registry.model import Model
from zoo.results.dataset_part import DatasetPart
from zoo.results.fields import Definition
from zoo.results.metrics import MATRIX_CLASSES, Metrics
from zoo.results.schema import ModelPart, SpeedPart
from zoo.runner.inputs import Inputs
from zoo.runner.unusual import unusual


def describe_model(
    entry: Model,
    model: nn.Module,
    definition: Definition,
    inputs: Inputs,
) -> ModelPart:
    """The model as the result has it: names, parameters, multiply-accumulates, activation memory."""
    parameters, trainable = count_parameters(model)
    shape, device = inputs.shape, inputs.settings.device
    return ModelPart(
        name=entry.name,
        label=entry.label,
        norm=entry.norm.name if entry.norm else None,
        layout=entry.layout,
        definition=definition,
        parameters=parameters,
        trainable_parameters=trainable,
        macs=count_macs(model, shape, device),
        activation_bytes=count_activation_bytes(model, shape, device, inputs.recipe.precision),
        image_size=shape[1:],
        replaces=entry.replacements,
        notes=notes.of(model),
    )


def describe_dataset(inputs: Inputs) -> DatasetPart:
    """The dataset as the result has it, with the numbers of images that the recipe uses."""
    dataset, (train_rows, holdout_rows) = inputs.dataset, inputs.rows
    return DatasetPart(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        classes=list(dataset.classes),
        train_images=len(train_rows),
        holdout_images=len(holdout_rows),
        test_images=dataset.count("test"),
        normalization=inputs.normalization,
        test_split=dataset.choice.test_split,
        split=dataset.choice.split,
        image_column=dataset.choice.image_column,
        label_column=dataset.choice.label_column,
        unusual=unusual(inputs),
    )


def describe_speed(
    outcome: train.Outcome, inference: speed.Inference | None, peak_memory: int | None, at_a_time: int
) -> SpeedPart:
    """The speeds: the median of the training windows, inference, latency in seconds, peak memory in bytes."""
    rates = outcome.progress.window_rates
    return SpeedPart(
        train_images_per_second=statistics.median(rates) if rates else None,
        window_rates=[round(rate, 1) for rate in rates],
        **(vars(inference) if inference else dict.fromkeys(field.name for field in fields(speed.Inference))),
        peak_memory_bytes=peak_memory,
        runs_at_a_time=at_a_time if at_a_time > 1 else None,
    )


def metrics_of(evaluation: Evaluation) -> Metrics:
    """The metrics of one split."""
    pairs, classes = evaluation.pairs(), evaluation.logits.shape[1]
    # A matrix that can be read stays one, so that the form does not turn with the accuracy.
    confusion = pairs if classes > MATRIX_CLASSES and pairs.size < classes**2 else evaluation.confusion()
    return Metrics(
        images=len(evaluation.labels),
        correct=int(pairs[pairs[:, 0] == pairs[:, 1], 2].sum()),
        accuracy=evaluation.accuracy,
        top5_accuracy=evaluation.top5_accuracy,
        loss=evaluation.loss,
        per_class_accuracy=evaluation.recalls(),
        confusion=confusion.tolist(),
        ece=evaluation.expected_calibration_error(),
        brier=evaluation.brier,
    )
