"""Where tuning looks for a recipe's values, and what it may spend: the same for every model of one command."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import Message, Option, RecipeError, did_you_mean
from zoo.recipes.load import with_values
from zoo.recipes.recipe import Recipe
from zoo.recipes.schema import Median, Range, Tuned
from zoo.utils.seeding import derive

# The ranges where none is asked for: factors of the recipe's own value, searched by the logarithm. No other key has
# a range of its own, since what is a sensible one depends on the key.
DEFAULT_RANGES = {"optimizer.lr": (0.1, 10.0), "optimizer.weight_decay": (0.1, 10.0)}
Asked = tuple[float, float, bool]  # a range: low, high, by the logarithm
# So many trials are spread evenly before the sampler learns from them, and so many are finished before one is pruned.
STARTUP_TRIALS = 4
# What is no property of one training under an equal budget.
FIXED = ("epochs", "split", "selection", "tuned")


@dataclass(frozen=True)
class Space:
    """What is tuned: dotted key to range, and which of the keys are whole numbers."""

    ranges: Mapping[str, Range]
    whole: frozenset[str]

    @property
    def own(self) -> dict[str, float | int]:
        """The recipe's own values."""
        return {key: self.rounded(key, bounds.own) for key, bounds in self.ranges.items()}

    def ends(self, recipe: Recipe) -> Iterator[tuple[Message, Recipe]]:
        """`recipe` with each end of each range, and how a message begins that names it. Raises :class:`RecipeError`."""
        for key, bounds in self.ranges.items():
            for end in (bounds.low, bounds.high):
                where = (Option("range", key), ", ")
                try:
                    other = with_values(recipe, {key: self.rounded(key, end)}, f"recipe {recipe.name!r}")
                except RecipeError as problem:
                    raise RecipeError(*where, *problem.parts) from problem
                yield where, other

    def point(self, number: int, seed: int) -> dict[str, float | int]:
        """The values of the trial `number` among those that are spread evenly: a scrambled Halton sequence."""
        from scipy.stats import qmc

        places = qmc.Halton(len(self.ranges), seed=derive("halton", seed) % 2**32).random(number)[-1]
        values = {}
        for (key, bounds), place in zip(self.ranges.items(), places.tolist(), strict=True):
            low, high = bounds.low, bounds.high
            drawn = low * (high / low) ** place if bounds.log else low + (high - low) * place
            values[key] = self.rounded(key, round(drawn) if key in self.whole else drawn)
        return values

    def rounded(self, key: str, drawn: float) -> float | int:
        """`drawn` as a recipe writes it: with six digits, and never outside the range."""
        if key in self.whole:
            return int(drawn)
        bounds = self.ranges[key]
        return drawn if drawn == bounds.own else min(max(float(f"{drawn:.6g}"), bounds.low), bounds.high)


def check_recipe(recipe: Recipe) -> None:
    """Raise :class:`RecipeError` where tuning `recipe` would have to read the test set, or has nothing to read."""
    if recipe.selection.split == "test":
        raise RecipeError(
            f"recipe {recipe.name!r} selects on the test set, which tuning never reads; add ",
            Option("set", "selection.split=holdout"),
            *(() if recipe.split.holdout else (" ", Option("set", "split.holdout=5000"))),
        )
    if recipe.split.holdout == 0:
        raise RecipeError(
            f"recipe {recipe.name!r} has no validation set, by which tuning chooses; add ",
            Option("set", "split.holdout=5000"),
        )
    if recipe.tuned is not None:
        raise RecipeError(f"recipe {recipe.name!r} is the result of tuning; tune the recipe that it extends")


def make_space(recipe: Recipe, over: Sequence[str], asked: Mapping[str, Asked]) -> Space:
    """The ranges of the keys `over`: those `asked` for, else :data:`DEFAULT_RANGES`.

    Raises :class:`RecipeError` for a key that is no number of `recipe` or must stay, and for a range that is missing,
    wrong, without the recipe's own value, or of values that the recipe may not have.
    """
    for key in asked:
        if key not in over:
            near = did_you_mean(key, over)
            hint: Message = (near,) if near else ("; add it to ", Option("over", key))
            raise RecipeError(Option("range", key), ": is not tuned", *hint)
    numbers = {key: number for key, number in _numbers(recipe.model_dump()) if key.split(".")[0] not in FIXED}
    ranges = {}
    for key in over:
        if key.split(".")[0] in FIXED:
            raise RecipeError(Option("over", key), ": is the budget or the measure of tuning, the same for all trials")
        if key not in numbers:
            near = did_you_mean(key, numbers) or f"; there are {', '.join(numbers)}"
            raise RecipeError(Option("over", key), f": recipe {recipe.name!r} has no such number{near}")
        ranges[key] = _range(key, numbers[key], asked.get(key))
    space = Space(ranges, frozenset(key for key in ranges if isinstance(numbers[key], int)))
    for _ in space.ends(recipe):
        pass  # raises for what the recipe may not have
    return space


def _range(key: str, own: float | int, asked: Asked | None) -> Range:
    if asked is not None:
        low, high, log = asked
    elif key not in DEFAULT_RANGES:
        around = f", around its {own:g}"
        raise RecipeError(
            Option("over", key), ": has no range of its own; add ", Option("range", f"{key}=LOW:HIGH"), around
        )
    elif own == 0:
        hint = Option("range", f"{key}=0:HIGH")
        raise RecipeError(Option("over", key), ": is 0 in the recipe, of which no range follows; add ", hint)
    else:
        low, high = (float(f"{factor * own:.6g}") for factor in DEFAULT_RANGES[key])
        log = True
    where = Option("range", f"{key}={low:g}:{high:g}{':log' if log else ''}")
    if log and low <= 0:
        raise RecipeError(where, ": a logarithm needs a LOW above 0; leave out :log to search evenly")
    if not low < high:
        raise RecipeError(where, ": LOW must be below HIGH")
    if not low <= own <= high:
        raise RecipeError(where, f": the recipe's own {own:g} is outside, and the first trial has it; widen the range")
    if isinstance(own, int) and (low != int(low) or high != int(high)):
        raise RecipeError(where, f": {key} is a whole number; give whole numbers")
    return Range(low=low, high=high, log=log, own=own)


def _numbers(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float | int]]:
    """Every number of a recipe by its dotted key; lists hold none that can be tuned."""
    for name, content in section.items():
        if isinstance(content, dict):
            yield from _numbers(content, f"{above}{name}.")
        elif isinstance(content, int | float) and not isinstance(content, bool):
            yield above + name, content


def parse_range(text: str) -> tuple[str, Asked]:
    """``optimizer.lr=0.01:1:log`` as (key, (low, high, by the logarithm)). Raises :class:`RecipeError`."""
    match = re.fullmatch(r"([\w.]+)=([^:]+):([^:]+)(:log)?", text)
    try:
        if match is None:
            raise ValueError
        low, high = float(match[2]), float(match[3])
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError
    except ValueError:
        expected = ": expected KEY=LOW:HIGH or KEY=LOW:HIGH:log, as in optimizer.lr=0.01:1:log"
        raise RecipeError(Option("range", text), expected) from None
    return match[1], (low, high, bool(match[4]))


def budget(recipe: Recipe, model: str, space: Space, trials: int, pruned: bool, seed: int) -> Tuned:
    """What a tuned recipe says of how it came about; `recipe` is the base, its precision resolved."""
    return Tuned(
        model=model,
        base=recipe.fingerprint,
        over=dict(space.ranges),
        trials=trials,
        sampler="tpe",
        startup_trials=STARTUP_TRIALS,
        # Early epochs say little of a schedule's end: the first third is not judged.
        pruner=Median(name="median", warmup_epochs=recipe.epochs // 3) if pruned else None,
        seed=seed,
    )


def folder_name(budget: Tuned) -> str:
    """The same for equal ranges, pruner and seed, not for equal numbers of trials: with more of them it resumes."""
    content = budget.model_dump(exclude={"model", "base", "trials"})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"tuning-{digest[:8]}"
