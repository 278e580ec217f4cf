"""Stored runs that nobody trained, and their comparison: for tests of what is made of results."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zoo.comparison.groups as module
from zoo.comparison.groups import Group
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import fingerprint_of
from zoo.results.folder import RunFolder, Stored
from zoo.results.schema import RESULT, Result

STANDARD = load_recipe("standard", ["precision=fp32"]).canonical()  # the recipe of `result`
OTHER = STANDARD | {"epochs": 10}  # another recipe of the same name
STANDARD_SLUG, OTHER_SLUG = (f"standard-{fingerprint_of(content)[:8]}" for content in (STANDARD, OTHER))
MACHINE = {"cpu": "CPU one", "cores": 2, "threads": 2, "torch": "2.9", "python": "3.11.1", "gpu": None, "cuda": None}
SETTINGS = {
    "device": "cpu", "layout": "nchw", "compiled": False, "executor": "batched", "workers": 0, "deterministic": False,
    "auto_threads": False,
}  # fmt: skip


def result(model: str = "m_bn", seed: int = 0, correct: int | None = 9_000, **changes: Any) -> Result:
    """A stored run; without `correct` one that diverged. `changes` go to the part that has the key.

    The recipe's fingerprint is that of its content.
    """
    test = None if correct is None else {"top5_accuracy": 0.99, "loss": 0.5, "ece": 0.1, "brier": 0.2} | hits(correct)
    content: dict[str, Any] = {
        "status": "finished" if test else "diverged",
        "diverged_epoch": None if test else 3,
        "diverged_step": None if test else 7,
        "seed": seed,
        "model": {
            "name": model, "label": f"label of {model}", "norm": model.split("_")[-1], "layout": None,
            "definition": {"norm": {"name": model}},
            "parameters": 1_234_567, "trainable_parameters": 1_234_567, "macs": 98_765_432, "activation_bytes": 300_000,
            "batch_dependent": None,
        },
        "recipe": {"name": "standard", "content": copy.deepcopy(STANDARD)},
        "dataset": {
            "name": "cifar10", "fingerprint": "d" * 64, "classes": ["x", "y"],
            "train_images": 45_000, "holdout_images": 5_000, "test_images": 10_000,
        },
        "selection": {"split": "holdout", "rule": "best", "metric": "accuracy", "epoch": 4 if test else None},
        "test": test,
        "holdout": None,
        "train": None if test is None else {
            **test, **hits(9_500),
        },
        "running_train_loss": 0.25,
        "running_train_accuracy": 0.75,
        "epochs_trained": 4,
        "epochs_to_90_percent_of_final": 3 if test else None,
        "speed": speed(1111.0, tested=test is not None),
        "settings": dict(SETTINGS),
        "environment": dict(MACHINE),
        "git": None,
        "started": "2030-01-02T03:04:05+00:00",
        "wall_seconds": 1.0,
        "resumes": 0,
    }  # fmt: skip
    return finished(content, changes)


def speed(rate: float, *, tested: bool) -> dict[str, Any]:
    """Of a run that trained at `rate` images per second."""
    return {
        "train_images_per_second": rate, "window_rates": [rate],
        "inference_images_per_second": 2222.0 if tested else None, "inference_batch_size": 128 if tested else None,
        "latency_p50": 0.00333 if tested else None, "latency_p90": 0.004 if tested else None,
        "latency_p99": 0.00555 if tested else None, "peak_memory_bytes": 777 * 2**20,
        "inference_quartiles": None, "latency_quartiles": None, "runs_at_a_time": None,
    }  # fmt: skip


def hits(correct: int) -> dict[str, Any]:
    """So many of 10,000 images of two classes, as many of each, are classified correctly."""
    first, second = (correct + 1) // 2, correct // 2
    return {
        "images": 10_000, "correct": correct, "accuracy": correct / 10_000,
        "per_class_accuracy": [first / 5_000, second / 5_000],
        "confusion": [[first, 5_000 - first], [5_000 - second, second]],
    }  # fmt: skip


def finished(content: dict[str, Any], changes: dict[str, Any]) -> Result:
    """The result of this `content` with `changes`: ``model__label="..."`` sets a key of a part.

    What a recipe lacks is the standard one's.
    """
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = content
        for part in parents:
            target = target[part]
        assert parents in (["environment"], ["recipe", "content"]) or path == "recipe__content" or last in target
        target[last] = value
    recipe = content["recipe"]["content"]
    for key, part in STANDARD.items():
        if isinstance(part, dict) and "name" not in recipe.get(key, {}):
            recipe[key] = part | recipe.get(key, {})
        recipe.setdefault(key, part)
    content["recipe"]["fingerprint"] = fingerprint_of(content["recipe"]["content"])
    return RESULT.validate_python(content)


def training(low: float, median: float, high: float) -> dict[str, Any]:
    """Changes for :func:`result`: a training whose windows have these quartiles."""
    windows = [0.9 * low, low, median, high, 1.1 * high]
    return {"speed__train_images_per_second": median, "speed__window_rates": windows}


def compare(results: Iterable[Result], baseline: str | None = None, **options: Any) -> list[Group]:
    """Of results that lie nowhere: their predictions and histories are missing."""
    return module.compare([Stored(result, RunFolder(Path("nowhere"))) for result in results], baseline, **options)
