"""A recipe by its name, from a file, or as a stored run has it: what `zoo recipe` shows and compares."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import Option, RecipeError, ResultError, ZooError
from zoo.recipes.catalogue import recipe_names
from zoo.recipes.diff import differences
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import fingerprint_of, slug_of
from zoo.results.begun import no_results
from zoo.results.folder import find_results, load_all
from zoo.results.published import located
from zoo.results.recipe_part import RecipePart
from zoo.results.schema import Result
from zoo.utils.files import reachable


class DescribedRecipe(RecipePart):
    """A whole recipe. All that can change the accuracy is in `content`."""

    description: str
    dataset: str

    def resolved(self) -> dict[str, str]:
        """Precision -> slug of the runs, where `precision` is ``auto``: that is resolved before a run's fingerprint."""
        if self.precision != "auto":
            return {}
        prints = {choice: fingerprint_of(self.content | {"precision": choice}) for choice in ("fp32", "bf16")}
        return {choice: slug_of(self.name, fingerprint) for choice, fingerprint in prints.items()}


def find(text: str, overrides: Sequence[str] = ()) -> DescribedRecipe:
    """The recipe that `text` names: built in, a file, either with changes (``laptop,epochs=6,optimizer.lr=0.05``), or
    a folder or ``result.json`` of runs. `overrides` are more ``key=value`` changes.

    Raises :class:`RecipeError` for a wrong recipe or change, :class:`zoo.errors.UnknownNameError` for an unknown name,
    and :class:`ResultError` for runs that are missing, damaged, or of more than one recipe.
    """
    with reachable(text, RecipeError):
        path = located(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    if text not in recipe_names() and (is_folder or path.suffix == ".json"):
        if overrides:
            raise RecipeError(
                f"{text}: ",
                Option("set"),
                " changes a recipe, not what a run has stored; give the recipe's name or file",
            )
        return _stored(path)
    # A comma begins another change only before `key=`, so that lists and mappings stay whole.
    name, *changes = [text] if is_file else re.split(r",(?=[A-Za-z_][\w.]*=)", text)
    if name not in recipe_names() and re.fullmatch(r"[^/]+-[0-9a-f]{8}", name):
        raise RecipeError(
            f"{name}: is what tables call the recipe of stored runs; give their folder, as in runs/DATASET/{name}"
        )
    recipe = load_recipe(name, [*changes, *overrides])
    return DescribedRecipe(
        name=recipe.name,
        fingerprint=recipe.fingerprint,
        content=recipe.canonical(),
        description=recipe.description,
        dataset=recipe.dataset,
    )


def options_for(recipe: RecipePart) -> list[Option] | None:
    """The options that make the recipe of a stored run: its name, and what was set. None where it has no such name."""
    if recipe.name not in recipe_names():
        return None
    try:
        changes = differences(load_recipe(recipe.name).canonical(), recipe.content)
        values = (change.b if isinstance(change.b, str) else json.dumps(change.b) for change in changes)
        settings = [f"{change.key}={value}" for change, value in zip(changes, values, strict=True)]
        if load_recipe(recipe.name, settings).fingerprint != recipe.fingerprint:
            return None
    except ZooError:  # it differs in what cannot be set
        return None
    return [Option("recipe", recipe.name), *(Option("set", setting) for setting in settings)]


def described(result: Result, description: str) -> DescribedRecipe:
    """The recipe of a stored run."""
    return DescribedRecipe(**result.recipe.model_dump(), description=description, dataset=result.dataset.name)


def _stored(root: Path) -> DescribedRecipe:
    runs = load_all(find_results([root]))
    if not runs:
        raise no_results([root], "a run has one as soon as it is done")
    slugs = sorted({run.result.recipe.slug for run in runs})
    if len(slugs) > 1:
        raise ResultError(f"{root} has runs of {len(slugs)} recipes; give the folder of one: {', '.join(slugs)}")
    return described(runs[0].result, f"as stored in {runs[0].folder.result}")
