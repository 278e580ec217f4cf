"""Run folders as a bench leaves them, written without training, for the tests of the page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from made_results import MACHINE, SETTINGS, finished, speed

from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import fingerprint_of
from zoo.results.folder import RunFolder, save_result
from zoo.results.history import EpochRow, save_history
from zoo.results.predictions import save_predictions

CLASSES = ["airplane", "bird", "cat"]
IMAGES = 300
EPOCHS = 4
RECIPE = load_recipe("laptop", ["precision=fp32"]).canonical() | {"epochs": EPOCHS, "batch_size": 64}
FINGERPRINT = fingerprint_of(RECIPE)
LAPTOP, EVA = f"laptop-{FINGERPRINT[:8]}", f"eva-{fingerprint_of(RECIPE | {'batch_size': 128})[:8]}"


def metrics(correct: int, images: int = IMAGES) -> dict[str, Any]:
    """Of three classes that are equally hard."""
    each, rest = images // 3, correct // 3
    hits = [rest + (label < correct - 3 * rest) for label in range(3)]
    confusion = [
        [hits[label] if label == column else (each - hits[label]) // 2 for column in range(3)] for label in range(3)
    ]
    for label in range(3):
        confusion[label][(label + 1) % 3] += each - sum(confusion[label])
    return {
        "images": images, "correct": correct, "accuracy": correct / images, "top5_accuracy": None,
        "loss": 2 - correct / images, "per_class_accuracy": [hit / each for hit in hits], "confusion": confusion,
        "ece": 0.0123, "brier": 0.3,
    }  # fmt: skip


def history(epochs: int, best: float = 0.8) -> list[EpochRow]:
    """A curve that rises to `best`."""
    return [
        EpochRow(
            epoch, 0.1 / epoch, 2.0 / epoch, best * (1 - math.exp(-epoch / 3)), "holdout", 2.1 / epoch,
            best * (1 - math.exp(-epoch / 4)), 1000.0 + epoch, 10.0, 1.0,
        )
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip


def make_run(
    runs: Path, norm: str = "bn", seed: int = 0, correct: int | None = 240, epochs: int = EPOCHS, **changes: Any
) -> RunFolder:
    """A finished run, or without `correct` a diverged one. `changes`: ``model__label="..."`` sets a key of a part."""
    test = None if correct is None else metrics(correct)
    content: dict[str, Any] = {
        "status": "finished" if test else "diverged",
        "diverged_epoch": None if test else 3,
        "diverged_step": None if test else 7,
        "seed": seed,
        "model": {
            "name": f"resnet20_{norm}", "label": f"ResNet-20, {norm}", "norm": norm,
            "definition": {"architecture": {"name": "resnet20", "builder": "a:b"}, "norm": {"name": norm}},
            "parameters": 270_000 + len(norm), "trainable_parameters": 270_000, "macs": 40_551_040,
            "activation_bytes": 759_936, "batch_dependent": None,
        },
        "recipe": {"name": "laptop", "content": RECIPE | {"epochs": epochs}},
        "dataset": {
            "name": "cifar10-jpeg", "fingerprint": "d" * 64, "classes": CLASSES,
            "train_images": 900, "holdout_images": 90, "test_images": IMAGES,
        },
        "selection": {"split": "holdout", "rule": "best", "metric": "accuracy", "epoch": epochs if test else None},
        "test": test,
        "holdout": None if test is None else metrics(60, 90),
        "train": None if test is None else metrics(280),
        "running_train_loss": 0.25,
        "running_train_accuracy": 0.75,
        "epochs_trained": epochs,
        "epochs_to_90_percent_of_final": 3 if test else None,
        "speed": speed(1111.5 + 10 * len(norm), tested=test is not None) | {"window_rates": [1111.5]},
        "settings": dict(SETTINGS),
        "environment": dict(MACHINE),
        "git": {"commit": "0" * 40, "dirty": False},
        "started": "2030-01-02T03:04:05+00:00",
        "wall_seconds": 3725.0,
        "resumes": 1,
    }  # fmt: skip
    result = finished(content, changes)
    folder = RunFolder.of(runs, result.dataset.name, result.recipe.slug, result.model.name, seed)
    folder.path.mkdir(parents=True, exist_ok=True)
    save_result(folder.result, result)
    save_history(folder.history, history(epochs, result.test.accuracy if result.test else 0.3))
    if correct is not None:
        labels = np.repeat(np.arange(3), IMAGES // 3)
        predicted = np.where(np.arange(IMAGES) < correct, labels, (labels + 1) % 3)
        save_predictions(folder.predictions, labels, predicted, np.full(IMAGES, 0.9))
    return folder


def make_runs(runs: Path) -> Path:
    """Three norms with three seeds, one of which diverged once; a second recipe with one seed, chosen on the test set,
    on two machines; a second data set."""
    for seed in range(3):
        make_run(runs, "bn", seed, 240 + seed)
        make_run(runs, "ln", seed, 210 + 2 * seed)
        make_run(runs, "gn", seed, None if seed == 1 else 225 + seed)
    other = {"recipe__name": "eva", "recipe__content__batch_size": 128, "selection__split": "test"}
    make_run(runs, "bn", 0, 200, **other)
    make_run(runs, "in", 0, 190, environment__cpu="CPU two", **other)
    make_run(runs, "frn", 0, None, **other)
    make_run(runs, "bn", 0, 150, dataset__name="shapes10", dataset__fingerprint="e" * 64)
    return runs
