"""What is checked before the first run of a bench starts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence, Set
from dataclasses import replace

import torch
from torch import nn

from zoo.builder import notes
from zoo.builder.construct import load_norm, other_classes, where_of
from zoo.builder.fairness import set_by_first_batch
from zoo.data.datasets import Dataset
from zoo.data.listing import in_words
from zoo.engine.guard import guarded
from zoo.errors import MachineError, Option, RecipeError, RegistryError
from zoo.recipes.recipe import Recipe
from zoo.registry.model import Model, Pretrained, is_built_in
from zoo.results.folder import FILE, load_result, make_folder
from zoo.results.run import Run, models_of
from zoo.runner.convolutions import problem_of_convolution
from zoo.runner.inputs import Inputs
from zoo.runner.settings import Settings
from zoo.runner.trial import LARGER, Trial
from zoo.utils.device import is_accelerator, is_here
from zoo.utils.distributed import Distributed
from zoo.utils.seeding import same_random_numbers

Failures = dict[str, RegistryError]  # by the name of the model


def check(
    runs: Sequence[Run], inputs: Inputs, failures: Failures | None = None, *, restart: bool = False
) -> dict[str, list[str]]:
    """Find the mistakes of every run before the first long one, not after it; gives what :func:`check_models` does.

    A model whose runs are all stored is not tried again, unless they will `restart`.
    Raises :class:`zoo.errors.RecipeError` for a wrong transform, split, batch size or executor,
    :class:`zoo.errors.RegistryError` as :func:`check_models`, and :class:`zoo.errors.ResultError` for a folder that
    cannot be made.
    """
    to_do = {run.model.name for run in runs if restart or not run.folder.result.is_file()}
    notes_by_model = check_models(models_of(runs), inputs, failures, to_do)
    for run in runs:
        if run.model.name in notes_by_model:
            make_folder(run.folder)
    return notes_by_model


def check_models(
    models: Sequence[Model], inputs: Inputs, failures: Failures | None = None, to_do: Set[str] | None = None
) -> dict[str, list[str]]:
    """Check the recipe against the data, build each of `models` and try those that are `to_do`, or all.

    Raises what :func:`zoo.runner.checks.check_data` and :func:`zoo.runner.checks.check_weights` do, and
    :class:`zoo.errors.RegistryError` where a model fails, unless it is kept in `failures`. Gives, by name, what was
    done to each model as it was built (:mod:`zoo.builder.notes`) and what the trial noticed or had to change; most
    have nothing to report.
    """
    check_data(inputs)
    recipe, settings = inputs.recipe, inputs.settings
    device = _device_here(settings)
    smallest = smallest_batch(len(inputs.rows[0]), recipe.batch_size, recipe.drop_last)
    notes_by_model = {}
    for model in models:
        if model.pretrained:
            check_weights(model.pretrained, recipe, inputs.dataset)
        try:
            with guarded(where_of(model), "building"), same_random_numbers():
                module = inputs.build(model, 0, device)
                check_model(model, module, settings.device, settings.distributed)
                lines = notes.of(module)
            share = smallest // settings.distributed.world_size
            if to_do is None or model.name in to_do:
                lines += try_on(model, inputs, share, module)
        except RegistryError as problem:
            if failures is None:
                raise
            failures[model.name] = problem
        else:
            notes_by_model[model.name] = lines
    return notes_by_model


def _device_here(settings: Settings) -> torch.device:
    """The device of `settings`; a CPU where it is a cluster's GPU, which may not be here."""
    return settings.device if is_here(settings.device) else torch.device("cpu")


def try_on(model: Model, inputs: Inputs, smallest_batch: int, module: nn.Module | None = None) -> list[str]:
    """Try `model` as a run of `inputs` will train it; what is to be said about it, in lines.

    A layout in which the model fails is not taken where nobody asked for it: ``inputs.only_nchw`` then has its name.
    `smallest_batch` is a process' share of the smallest batch to come, and `module` what ``inputs.build`` makes of the
    model for seed 0, if that was made already; it is used up. The state of the generators is put back.
    Raises :class:`RegistryError`, in one line, for what fails, and for a model that would be trained otherwise than
    the recipe says (:mod:`zoo.builder.fairness`), stored otherwise than trained, or evaluated by its batch.
    """
    settings, device = inputs.settings, _device_here(inputs.settings)
    ready = [] if module is None else [module]

    def build() -> nn.Module:
        return ready.pop() if ready else inputs.build(model, 0, device)

    trial = Trial(
        where_of(model), build, inputs.recipe, device, inputs.layout(model),
        inputs.train_shape, inputs.dataset.num_classes, smallest_batch, settings.distributed.world_size,
        settings.allow_batch_dependent, settings.compiled, functools.partial(other_classes, model),
    )  # fmt: skip
    if model.norm and model.norm.conv and not is_built_in(model.norm.origin):
        wrong = ""
        # What it does not support, an architecture may not ask for.
        with contextlib.suppress(Exception), same_random_numbers():
            wrong = problem_of_convolution(load_norm(model.norm).conv2d)
        if wrong:
            raise RegistryError(f"{trial.where}: {model.norm.conv}: {wrong}")
    problem = _refusal(trial)
    if problem is None:
        return trial.notes
    if trial.layout == "channels_last":
        was_asked_for = settings.layout or model.asked_layout
        trial = replace(trial, layout="nchw")
        in_nchw = _refusal(trial)
        if in_nchw is None and was_asked_for:
            advice = ("; write `layout: nchw` in its entry of the registry, or give ", Option("layout", "nchw"))
            raise RegistryError(*problem.parts, *advice)
        if in_nchw is None:
            inputs.only_nchw.add(model.name)
            return [f"is trained in NCHW, since it {str(problem).removeprefix(f'{trial.where}: ')}", *trial.notes]
        problem = problem if was_asked_for else in_nchw
    in_fp32 = replace(trial, recipe=trial.recipe.model_copy(update={"precision": "fp32"}))
    if trial.recipe.precision != "fp32" and _refusal(in_fp32) is None:
        raise RegistryError(*problem.parts, "; in fp32 it passes: give ", Option("set", "precision=fp32"))
    raise problem


def _refusal(trial: Trial) -> RegistryError | None:
    """Why the model cannot be trained so, on a few images or on more of them; None where it can."""
    problem, larger = trial.refusal(), replace(trial, batch=min(LARGER, trial.smallest_batch))
    if problem and problem.__cause__ and larger.batch > trial.batch and larger.refusal() is None:
        return None
    return problem


def check_data(inputs: Inputs) -> None:
    """Put a few images through both transform lists and count the images against the recipe.

    Raises :class:`RecipeError` for a wrong split, batch size, transform or executor, naming the list at fault.
    """
    recipe, images = inputs.recipe, len(inputs.rows[0])
    if recipe.drop_last and recipe.batch_size > images:
        raise RecipeError(
            f"recipe {recipe.name!r}: batch_size {recipe.batch_size} is more than the {images} training images; "
            "lower it, as in ",
            Option("set", f"batch_size={max(1, images // 10)}"),
        )
    check_batches(images, recipe.batch_size, recipe.drop_last, inputs.settings.distributed)
    _, height, width = inputs.shape
    if inputs.train_shape != inputs.shape and not recipe.other_evaluation_size:
        trained = in_words(inputs.train_shape[1:])
        raise RecipeError(
            f"recipe {recipe.name!r} trains on images of {trained} and evaluates on {width}x{height}; begin both lists "
            "of `augment` with the same Resize, or allow it with ",
            Option("set", "other_evaluation_size=true"),
        )
    if recipe.tta.shift >= min(height, width):
        raise RecipeError(
            f"recipe {recipe.name!r}: shifted_evaluation: {recipe.tta.shift} pixels are too many for images of "
            f"{width}x{height}; ",
            Option("set", "shifted_evaluation=null"),
            " switches it off",
        )


def check_weights(pretrained: Pretrained, recipe: Recipe, dataset: Dataset) -> None:
    """Raise :class:`RecipeError` where the weights that a model starts from would leak: those of a run on the images of
    `dataset` that its test images chose, or that was trained on images by which `recipe` chooses.

    A run is known by the ``result.json`` beside its weights.
    """
    stored = pretrained.path.with_name(FILE) if pretrained.path else None
    if stored is None or not stored.is_file():
        return
    result = load_result(stored)
    if result.dataset.fingerprint != dataset.fingerprint:
        return
    if result.selection.split == "test":
        raise RecipeError(
            Option("pretrained", str(pretrained.path)),
            f": the test images of {dataset.name} chose these weights, and would choose whatever starts from them; "
            "give a run under a recipe that selects on held-out images",
        )
    by_images = recipe.selection.rule == "best" or recipe.schedule.name == "plateau"
    chooses = recipe.selection.split == "holdout" and by_images
    then, now = result.recipe.typed.split, recipe.split
    if chooses and now.holdout and (then.holdout, then.seed) != (now.holdout, now.seed):
        raise RecipeError(
            Option("pretrained", str(pretrained.path)),
            f": trained on images that recipe {recipe.name!r} holds out to choose by; hold out what that run did "
            f"(split.holdout={then.holdout}, split.seed={then.seed}) or take the last epoch: ",
            Option("set", "selection.rule=last"),
        )


def check_model(model: Model, module: nn.Module, device: torch.device, distributed: Distributed) -> None:
    """Raise :class:`RegistryError` where `distributed` would change what `module`, built from `model`, computes.

    A norm whose statistics are of the batch would take them over each process' share of it, silently another model than
    under one process. torch synchronises BatchNorm on GPUs only: elsewhere :class:`MachineError`.
    """
    if distributed.world_size == 1:
        return
    if set_by_first_batch(module):
        raise RegistryError(
            f"{model.name}: sets itself by its first batch, of which each of {distributed.world_size} processes has "
            "another share; use one process"
        )
    parts = list(module.modules())
    synchronised = any(isinstance(part, nn.SyncBatchNorm) for part in parts)
    if synchronised and not is_accelerator(device):
        raise MachineError(
            f"{model.name}: torch synchronises batch statistics between GPUs only, and this is a {device.type}; "
            "use one process, or a norm that does not depend on the batch, such as gn"
        )
    own = any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, nn.SyncBatchNorm) for part in parts
    )
    claimed = model.norm is None or model.norm.batch_independent or synchronised
    if own or not claimed:
        raise RegistryError(
            f"{model.name}: its norm takes statistics of the batch, and each of {distributed.world_size} processes "
            "would take them over its own share: another model than with one process; use the norm syncbn (on GPUs), a "
            "norm that does not depend on the batch, such as gn, or one process"
        )


def smallest_batch(images: int, batch_size: int, drop_last: bool) -> int:
    """Images in the smallest batch of an epoch of `images`."""
    left = images % batch_size
    return left if left and not drop_last else batch_size


def check_batches(images: int, batch_size: int, drop_last: bool, distributed: Distributed) -> None:
    """Raise :class:`RecipeError` where an epoch of `images` has a batch that leaves a process without an image."""
    left, smallest = images % batch_size, smallest_batch(images, batch_size, drop_last)
    if smallest < distributed.world_size:
        which = "the last batch" if smallest == left else "a batch"
        raise RecipeError(
            f"{which} has {smallest} images, fewer than the {distributed.world_size} processes; give ",
            *((Option("set", "drop_last=true"), ", or ") if smallest == left else ()),
            "fewer processes",
        )
