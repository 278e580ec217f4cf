"""From the reference experiment to the standard recipe, one change at a time: what each of its findings was worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from zoo.comparison.groups import compare
from zoo.comparison.row import Row
from zoo.errors import RecipeError
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.results.folder import Stored
from zoo.results.history import EpochRow, load_history

REFLECT = "reflect_101"
CROP_28 = [
    {"RandomCrop": {"height": 28, "width": 28}},
    {"PadIfNeeded": {"min_height": 32, "min_width": 32, "border_mode": REFLECT}},
]
PAD_4 = [
    {"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": REFLECT}},
    {"RandomCrop": {"height": 32, "width": 32}},
]
FLIP = {"HorizontalFlip": {"p": 0.5}}
ROTATE = {"Rotate": {"limit": 5, "border_mode": REFLECT, "p": 1.0}}
NORMALIZE = {"Normalize": {"mean": [0.49139968, 0.48215841, 0.44653091], "std": [0.24703223, 0.24348513, 0.26158784]}}


def _hole(side: int) -> dict[str, Any]:
    """Cutout in the mean colour."""
    sides = {"max_h_size": side, "max_w_size": side}
    return {"Cutout": {"num_holes": 1, **sides, "fill_value": [125, 123, 114], "p": 1.0}}


@dataclass(frozen=True)
class Step:
    """One change on top of all before it, to the norm or to the recipe. `changes`: dotted key to value."""

    title: str
    norm: str
    changes: dict[str, Any] = field(default_factory=dict)


def reference_steps(epochs: int) -> list[Step]:
    """The steps of a training of `epochs` epochs. The last is the recipe `standard`, but for its name, at 40."""
    return [
        Step("the reference experiment", "in"),
        Step("LayerNorm that is one (GroupNorm of 1 group)", "ln"),
        Step(
            "chosen on 5,000 held-out images, not the test set",
            "ln",
            {"split": {"holdout": 5000, "seed": 0}, "selection.split": "holdout"},
        ),
        Step(
            "cutout in the mean colour, not nearly black",
            "ln",
            {"augment.train": [*CROP_28, _hole(16), ROTATE, NORMALIZE]},
        ),
        Step("horizontal flip", "ln", {"augment.train": [*CROP_28, FLIP, _hole(16), ROTATE, NORMALIZE]}),
        Step(
            "standard's crop and cutout, no rotation, one normalisation",
            "ln",
            {"augment": {"train": [*PAD_4, FLIP, _hole(8), NORMALIZE], "eval": [NORMALIZE]}},
        ),
        Step(
            "the configuration as it was meant: lr 0.2, decay 1.5e-4",
            "ln",
            {"optimizer.lr": 0.2, "optimizer.weight_decay": 1.5e-4},
        ),
        Step(
            "warm-up and cosine, not a plateau",
            "ln",
            {"schedule": {"name": "cosine", "warmup_epochs": epochs / 10, "final_factor": 0}},
        ),
        Step(
            "standard's optimizer: Nesterov, decay 5e-4, none on norms",
            "ln",
            {
                "optimizer.nesterov": True,
                "optimizer.weight_decay": 5e-4,
                "optimizer.decay_norm_and_bias": False,
            },
        ),
        Step(
            "label smoothing, whole batches, bf16 where there: `standard`",
            "ln",
            {"loss.label_smoothing": 0.1, "drop_last": True, "precision": "auto"},
        ),
    ]


def reference_recipes(overrides: Sequence[str], epochs: int) -> list[tuple[Step, Recipe]]:
    """Each step with its recipe: ``eva6s8``, all changes up to that step, then `overrides` (``key=value``).

    Raises :class:`zoo.errors.RecipeError` and :class:`zoo.errors.UnknownNameError` as :func:`load_recipe` does.
    """
    gathered = [f"epochs={epochs}"]
    recipes = []
    for step in reference_steps(epochs):
        gathered += [f"{key}={json.dumps(change)}" for key, change in step.changes.items()]
        recipes.append((step, load_recipe("eva6s8", [*gathered, *overrides])))
    return recipes


@dataclass(frozen=True)
class Ablated:
    """A step and what came of it. `change`: in accuracy from the step before, over the seeds that both finished; None
    for the first, and where they share none.
    """

    step: Step
    row: Row
    change: float | None
    history: list[EpochRow]  # of the first seed; empty where it diverged in its first epoch


def ablation(steps: Sequence[Step], stored: Sequence[Sequence[Stored]]) -> list[Ablated]:
    """What the runs `stored`, one list per step, say. Raises :class:`RecipeError` where a step has no runs."""
    ablated: list[Ablated] = []
    before: dict[int, float] = {}
    for step, runs in zip(steps, stored, strict=True):
        if not runs:
            raise RecipeError(f"step {step.title!r}: no runs")
        ((row,),) = (group.rows for group in compare(runs, once_each=True))
        now = {run.result.seed: run.result.test.accuracy for run in runs if run.result.test}
        both = now.keys() & before.keys()
        change = fmean(now[seed] - before[seed] for seed in both) if both else None
        before = now
        history = load_history(runs[0].folder.history) if runs[0].result.epochs_trained else []
        ablated.append(Ablated(step, row, change, history))
    return ablated
