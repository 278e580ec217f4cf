"""What comes out of tuning: the best trial, and the recipe file that says its values and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.recipes.catalogue import recipe_names
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe, put
from zoo.recipes.schema import Tuned
from zoo.tuning.study import Trial
from zoo.utils.files import write_atomic


@dataclass(frozen=True)
class Tuning:
    """What tuning one model gave. Accuracies are shares of the held-out images.

    `best`, `recipe` and `path` are None where every trial diverged.
    """

    model: str
    budget: Tuned
    trials: list[Trial]
    best: Trial | None
    recipe: Recipe | None
    path: Path | None

    @property
    def own(self) -> Trial:
        """The trial of the recipe's own values."""
        return self.trials[0]

    @property
    def epochs(self) -> int:
        """Of all trials together."""
        return sum(len(trial.accuracies) for trial in self.trials)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The most accurate of the finished `trials`, the first of equals; None where all were pruned or diverged."""
    whole = [trial for trial in trials if not trial.pruned and not trial.diverged]
    return max(whole, key=lambda trial: (trial.accuracy, -trial.number)) if whole else None


def conclude(base: Recipe, name: str, dataset: str, budget: Tuned, trials: list[Trial], folder: Path) -> Tuning:
    """Write the tuned recipe under `folder` and say what came of `trials`.

    `name` is the base recipe as the user named it: by name it is extended, a file's content is written out, since a
    file may change or be elsewhere. `dataset` is what a bench of the recipe trains on where nothing else is asked for.
    """
    best = best_of(trials)
    if best is None:
        return Tuning(budget.model, budget, trials, None, None, None)
    content = base.model_dump(mode="json", exclude={"name"}) | {
        "description": f"{base.name}, tuned for {budget.model}: the best of {budget.trials} trials on held-out images",
        "dataset": dataset,
        "tuned": budget.model_dump(mode="json"),
    }
    for key, number in best.values.items():
        put(content, key, number)
    if name in recipe_names():
        content = {"extends": name} | _changes(load_recipe(name).model_dump(mode="json"), content)
    path = folder / f"{budget.trials}-trials" / f"{base.name}-tuned.yaml"
    path.parent.mkdir(exist_ok=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    write_atomic(path, text.encode())
    return Tuning(budget.model, budget, trials, best, load_recipe(str(path)), path)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What of `new` a recipe file has to state over `old`; a section of another kind is stated as a whole."""
    changes = {}
    for key, now in new.items():
        before = old.get(key)
        if isinstance(now, dict) and isinstance(before, dict) and now.get("name") == before.get("name"):
            if inner := _changes(before, now):
                changes[key] = inner
        elif now != before:
            changes[key] = now
    return changes
