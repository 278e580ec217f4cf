"""What makes a stored run the same experiment as the one asked for."""

from __future__ import annotations

from typing import Any

from zoo.builder.construct import definition_of
from zoo.engine.checkpoint import Identity
from zoo.errors import Option, ResultError
from zoo.registry.fingerprint import difference, is_same
from zoo.registry.model import Model
from zoo.results.fields import Experiment
from zoo.results.folder import RunFolder
from zoo.results.schema import Result
from zoo.runner.inputs import Inputs


def identity_of(model: Model, inputs: Inputs) -> Experiment:
    """What a run of `model` is, besides its seed and the name of its folder."""
    definition: Any = definition_of(model, inputs.dataset.num_classes)  # as Definition has it; that is checked later
    return {"recipe": inputs.recipe.fingerprint, "dataset": inputs.dataset.fingerprint, "definition": definition}


def identity_of_result(result: Result) -> Experiment:
    """The same of a stored result."""
    return {
        "recipe": result.recipe.fingerprint,
        "dataset": result.dataset.fingerprint,
        "definition": result.model.definition,
    }


def check_identity(folder: RunFolder, model: Model, stored: Experiment, wanted: Experiment) -> None:
    """Raise :class:`ResultError` when what is `stored` is another experiment than the one `wanted`."""
    then, now = stored.get("definition", {}), wanted.get("definition", {})
    definition = f"definition of {model.name}"
    for part, words in (("recipe", "recipe"), ("dataset", "dataset"), ("definition", definition)):
        if stored.get(part) != wanted.get(part) and not (words == definition and is_same(then, now)):
            why = f": {difference(then, now)}" if words == definition else ""
            *_, runs = [*folder.path.parents][:4]  # the last one is that of dataset, recipe and model
            raise ResultError(
                f"{folder.path}: was made with another {words}{why}; give ",
                Option("restart"),
                " to replace it, or ",
                Option("runs", f"{runs}-2"),
                " to keep both",
            )


def check_settings(folder: RunFolder, saved: Identity, wanted: Identity) -> None:
    """Raise :class:`zoo.errors.ResultError` when a resume would not repeat what an uninterrupted run does."""
    names = ("device", "layout", "executor", "compiled", "deterministic")
    before, now = (
        {name: getattr(identity.settings, name) for name in names} | {"processes": identity.processes}
        for identity in (saved, wanted)
    )
    for name, setting in before.items():
        if setting != now[name]:
            raise ResultError(
                f"{folder.path}: was started with {name} {setting}, which changes the last bits of a run; resume with ",
                Option(name, setting) if isinstance(setting, str) else "the same",
                ", or start again with ",
                Option("restart"),
            )


def moved_since(saved: Identity, now: Identity) -> list[str]:
    """What of hardware and software is not as it was when a state was saved; an older state does not say all."""
    before, here = saved.environment, now.environment
    names = sorted(name for name in here if before and before.get(name) != here[name])
    names = [name for name in names if name != "description_version"]  # the words are newer, not the machine
    return names + ["source of zoo"] * (saved.git != now.git)
