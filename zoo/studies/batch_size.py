"""The batch-size study: one recipe at several batch sizes, every model at each."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.comparison.groups import Group, compare
from zoo.comparison.row import Row
from zoo.errors import Option, RecipeError, ResultError
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.registry.model import registry_name
from zoo.results.folder import Stored
from zoo.results.recipe_source import options_for

# How the learning rate follows the batch size, as a factor of the recipe's, for a batch `ratio` times the recipe's.
LR_RULES: dict[str, Callable[[float], float]] = {
    "linear": lambda ratio: ratio,  # Goyal et al., 2017; what GroupNorm's paper used (Wu & He, 2018)
    "sqrt": math.sqrt,  # Krizhevsky, 2014
    "none": lambda ratio: 1.0,
}


@dataclass(frozen=True)
class BatchSizes:
    """Test accuracy by training batch size: `groups` maps a batch size to its runs, `rates` to its learning rate.

    All else is the recipe `recipe`, whose own batch size is `base`.
    """

    recipe: str
    dataset: str
    epochs: int
    rule: str
    base: int
    models: list[str]
    rates: dict[int, float]
    groups: dict[int, Group]

    @property
    def about(self) -> str:
        """What the runs are of, in words."""
        return f"{self.dataset}, recipe {self.recipe}, {self.epochs} epochs, lr rule {self.rule}"

    def rows(self) -> dict[str, dict[int, Row]]:
        """By model, then by batch size, in the order they were given."""
        rows: dict[str, dict[int, Row]] = {name: {} for name in self.models}
        for size, group in self.groups.items():
            for row in group.rows:
                rows[row.model][size] = row
        return rows


def batch_size_recipes(name: str, overrides: Sequence[str], values: Sequence[int], rule: str) -> dict[int, Recipe]:
    """The recipe `name` with `overrides` at each batch size, its learning rate scaled by a `rule` of :data:`LR_RULES`.

    The same as ``--set batch_size=... --set optimizer.lr=...`` by hand, so the runs are those of a plain bench.
    Raises :class:`RecipeError` and :class:`zoo.errors.UnknownNameError` as :func:`load_recipe` does.
    """
    base = load_recipe(name, overrides)
    recipes = {}
    for size in values:
        rate = base.optimizer.lr * LR_RULES[rule](size / base.batch_size)
        recipes[size] = load_recipe(name, [*overrides, f"batch_size={size}", f"optimizer.lr={float(f'{rate:.6g}')!r}"])
    return recipes


def batch_sizes(
    base: Recipe, rule: str, recipes: Mapping[int, Recipe], stored: Mapping[int, Sequence[Stored]]
) -> BatchSizes:
    """The study of the runs `stored` under `recipes`. Raises :class:`RecipeError` where a batch size has no runs."""
    groups = {}
    for size, runs in stored.items():
        if not runs:
            raise RecipeError(f"batch size {size}: no runs")
        (groups[size],) = compare(runs, once_each=True)
    return BatchSizes(
        recipe=base.name,
        dataset=next(iter(groups.values())).dataset,
        epochs=base.epochs,
        rule=rule,
        base=base.batch_size,
        models=list(dict.fromkeys(run.result.model.name for runs in stored.values() for run in runs)),
        rates={size: recipe.optimizer.lr for size, recipe in recipes.items()},
        groups=groups,
    )


def by_size(runs: Sequence[Stored]) -> tuple[str, dict[int, Group]]:
    """What `runs` are of, in words, and their comparison by training batch size, small first.

    Raises :class:`ResultError` where they differ in more of the recipe than ``batch_size`` and ``optimizer.lr``, have
    two learning rates at one batch size, or only one batch size.
    """
    groups = compare(runs, once_each=True)
    by_batch: dict[int, list[Group]] = defaultdict(list)
    recipes = {run.result.recipe.fingerprint: run.result.recipe for run in runs}
    rest = set()
    for group in groups:
        content: dict[str, Any] = json.loads(json.dumps(recipes[group.recipe_fingerprint].content))
        by_batch[content.pop("batch_size")].append(group)
        content["optimizer"].pop("lr")
        rest.add((group.dataset_fingerprint, json.dumps(content, sort_keys=True)))
    names = ", ".join(f"{group.dataset} {group.slug}" for group in groups)
    if len(rest) > 1:
        raise ResultError(
            f"these runs differ in more than batch size and learning rate: {names}; choose with ",
            Option("dataset"),
            " and ",
            Option("recipe"),
            ", or name the folder of one study",
        )
    for size, several in by_batch.items():
        if len(several) > 1:
            raise ResultError(
                f"batch size {size} was run with {len(several)} learning rates: {names}; name one's folders"
            )
    if len(by_batch) < 2:
        size, (group, *_) = next(iter(by_batch.items()))
        models = " ".join(registry_name(row.model) for row in group.rows)
        part = recipes[group.recipe_fingerprint]
        words = [*(options_for(part) or [Option("recipe", part.name)]), Option("dataset", group.dataset)]
        values = Option("values", f"{max(1, size // 2)},{size},{2 * size}")
        raise ResultError(
            f"all these runs have batch size {size}; `zoo study batch-size {models}",
            *(part for option in (*words, values) for part in (" ", option)),
            "` trains at others too",
        )
    chosen = {size: by_batch[size][0] for size in sorted(by_batch)}
    rates = {size: recipes[group.recipe_fingerprint].typed.optimizer.lr for size, group in chosen.items()}
    first = next(iter(chosen.values()))
    epochs = recipes[first.recipe_fingerprint].epochs
    return f"{first.dataset}, recipe {first.recipe}, {epochs} epochs, {lr_rule(rates)}", chosen


def lr_rule(rates: Mapping[int, float]) -> str:
    """How the learning rates follow the batch sizes, in words. Rates are rounded to six digits, so nearly is enough."""
    for name, factor in LR_RULES.items():
        units = [rate / factor(size) for size, rate in rates.items()]
        if max(units) <= 1.0001 * min(units):
            return f"lr rule {name}"
    return f"lr {', '.join(f'{rate:g}' for rate in rates.values())}"
