"""The command that trains a stored run again."""

from __future__ import annotations

import shlex

from zoo.errors import Message, Option
from zoo.registry.model import registry_name
from zoo.results.folder import RunFolder
from zoo.results.recipe_source import options_for
from zoo.results.schema import Result
from zoo.utils.files import RUNS


def options_of(result: Result) -> list[Option]:
    """What of a run `zoo bench` has options for, but for the recipe: dataset, seed, how it is computed."""
    used = result.settings
    return [
        Option("dataset", result.dataset.name),
        *result.dataset.choice.options,
        Option("seed", str(result.seed)),
        *(Option(name) for name, on in (("compile", used.compiled), ("deterministic", used.deterministic)) if on),
        *([Option("pretrained", "FILE")] if "pretrained" in result.model.definition else []),
    ]


def bench_again(result: Result, folder: RunFolder, *more: Option) -> Message:
    """The command that trains the run in `folder` again, and the folder that the new run is kept in.

    Its recipe is named where a name and settings make it, else taken from the run first. Where the new run would be in
    the same folder, it takes the place of the old one.
    """
    recipe, slug, first = options_for(result.recipe), result.recipe.slug, ""
    if recipe is None:
        first = f"zoo recipe show {shlex.quote(str(folder.path))} > {slug}.yaml && "
        recipe, slug = [Option("recipe", f"{slug}.yaml")], f"{slug}-{result.recipe.fingerprint[:8]}"
    new = RunFolder.of(RUNS, result.dataset.name, slug, result.model.name, result.seed)
    again = [Option("restart")] if new.path.absolute() == folder.path.absolute() else []
    words = [part for option in (*recipe, *options_of(result), *again, *more) for part in (" ", option)]
    return (f"`{first}zoo bench {shlex.quote(registry_name(result.model.name))}", *words, f"`, then name {new.path}")
