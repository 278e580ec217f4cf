"""Studies: one recipe with one thing varied, every model under each variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.comparison.groups import Group, compare
from zoo.comparison.row import Row
from zoo.errors import RecipeError
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.results.folder import Stored

# How the learning rate follows the batch size, as a factor of the recipe's, for a batch `ratio` times the recipe's.
LR_RULES = {
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
        found: dict[str, dict[int, Row]] = {name: {} for name in self.models}
        for size, group in self.groups.items():
            for row in group.rows:
                found[row.model][size] = row
        return found


def batch_size_recipes(name: str, overrides: Sequence[str], values: Sequence[int], rule: str) -> dict[int, Recipe]:
    """The recipe `name` with `overrides` at each batch size, its learning rate scaled by a `rule` of :data:`LR_RULES`.

    The same as ``--set batch_size=... --set optimizer.lr=...`` by hand, so the runs are those of a plain bench.
    Raises :class:`RecipeError` and :class:`zoo.errors.UnknownNameError` as :func:`load_recipe` does.
    """
    base = load_recipe(name, overrides)
    found = {}
    for size in values:
        rate = base.optimizer.lr * LR_RULES[rule](size / base.batch_size)
        found[size] = load_recipe(name, [*overrides, f"batch_size={size}", f"optimizer.lr={float(f'{rate:.6g}')!r}"])
    return found


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
