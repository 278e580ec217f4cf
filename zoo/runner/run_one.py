"""One run from seed to stored result: set up, train, evaluate, store."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from zoo.builder.weights import with_versions
from zoo.engine import memory_format, speed, train
from zoo.engine.checkpoint import Identity, SavedState, load_state, save_weights
from zoo.engine.convolution import use_side_by_side
from zoo.engine.environment import describe, zoo_commit
from zoo.engine.evaluate import Evaluation, evaluate, evaluation_batch
from zoo.engine.independence import ROUNDING, dependence_on_batch, share_beyond_rounding
from zoo.engine.machine import configure_arithmetic
from zoo.engine.memory import PeakMemory
from zoo.engine.reporter import Reporter
from zoo.errors import RegistryError
from zoo.results import schema
from zoo.results.begun import keep
from zoo.results.dataset_part import DatasetPart
from zoo.results.fields import Experiment
from zoo.results.folder import RunFolder, in_words, save_result
from zoo.results.history import epochs_to
from zoo.results.predictions import save_predictions
from zoo.results.recipe_part import RecipePart
from zoo.results.run import Run
from zoo.runner.answers import NOT_STORED, same_answers, unstored
from zoo.runner.identity import check_identity, check_settings, moved_since
from zoo.runner.inputs import Inputs
from zoo.runner.record import describe_dataset, describe_model, describe_speed, metrics_of
from zoo.runner.settings import machine_faults

RESUMES = "the same command resumes after the last finished epoch"
CHECKED = 16  # images, whose answers by the stored weights are compared with others


@dataclass(frozen=True)
class Ready:
    """A run that is ready to be trained: its model on the device, its loaders, and the state that it resumes from."""

    run: Run
    inputs: Inputs
    model: nn.Module
    part: schema.ModelPart
    recipe: RecipePart
    dataset: DatasetPart
    batches: train.Batches
    used: schema.SettingsPart
    identity: Identity
    state: SavedState | None
    moved: list[str]  # names of hardware and software that are not as they were when the state was saved


@dataclass(frozen=True)
class Evaluated:
    """The selected weights on each split, `holdout` None where no image is held out, and their speed at inference.

    `batch_dependent`: the batch size, where the answer to an image depends on the images beside it.
    """

    train: Evaluation
    holdout: Evaluation | None
    test: Evaluation
    inference: speed.Inference
    batch_dependent: int | None


def run_one(run: Run, inputs: Inputs, reporter: Reporter, *, identity: Experiment) -> schema.Result | None:
    """Do one run, resuming from its saved state where there is one, and store it; None in all processes but the first.

    `identity` is :func:`~zoo.runner.identity.identity_of`. Raises as :func:`set_up` and :func:`train_on` do, and what
    the files raise.
    """
    clock = time.perf_counter()
    ready = set_up(run, inputs, identity=identity)
    if inputs.settings.distributed.is_main:
        keep(run.folder, run.model.name, inputs.recipe.epochs, inputs.settings.command)

    memory = PeakMemory(inputs.settings.device)
    outcome = train_on(ready, reporter)
    if not inputs.settings.distributed.is_main:
        return None
    # Nothing was trained here where only the test was left to do.
    trained_here = ready.state is None or ready.state.progress.epoch < inputs.recipe.epochs
    peak_memory = memory.read() if trained_here else None

    evaluated = None if outcome.diverged or outcome.weights is None else evaluate_on_splits(ready, outcome.weights)

    # A resumed run has also spent the time of the epochs that it did before.
    before = ready.state.progress.history if ready.state is not None else []
    seconds = time.perf_counter() - clock + sum(row.train_seconds + row.eval_seconds for row in before)
    result = describe_run(ready, outcome, evaluated, peak_memory, seconds)
    _store(run.folder, outcome, evaluated, result)
    return result


def set_up(run: Run, inputs: Inputs, *, identity: Experiment) -> Ready:
    """Build the model and the loaders of `run` and read its saved state.

    `identity` is :func:`~zoo.runner.identity.identity_of`. Raises :class:`zoo.errors.ResultError` for a saved
    state that is damaged or of another experiment, and as :func:`train_on` does for a model that fails in its first
    forward pass, or that no result can hold.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    settings, recipe, folder = inputs.settings, inputs.recipe, run.folder
    configure_arithmetic(settings.deterministic)
    with machine_faults(run.name, settings, RESUMES, "setting up"):
        # Counting runs a model, which may keep something of it: the one that is trained was never run.
        try:
            parts = (
                describe_model(run.model, inputs.build(run.model, run.seed), identity.get("definition", {}), inputs),
                RecipePart(name=recipe.name, fingerprint=recipe.fingerprint, content=recipe.canonical()),
                describe_dataset(inputs),
            )
        except ValidationError as problem:
            raise RegistryError(f"{run.name}: no result can hold its {in_words(problem)}") from problem
        model = _built(run, inputs)
    layout = inputs.layout(run.model)

    state = load_state(folder.state)
    if state is not None:
        check_identity(folder, run.model, state.identity.run, identity)
    loader = inputs.train_loader(layout, run.seed)
    selection = inputs.eval_loader(layout, recipe.selection.split) if inputs.selection_images else None

    used = schema.SettingsPart(
        device=str(settings.device),
        layout=layout,
        compiled=settings.compiled,
        executor=loader.executor_name,
        workers=settings.workers if loader.executor_name == "albumentations" else 0,
        deterministic=settings.deterministic,
        auto_threads=settings.auto_threads,
    )
    processes = settings.distributed.world_size
    current = Identity(
        run=identity,
        # Each of several processes has a GPU of its own.
        settings=used if processes == 1 else used.model_copy(update={"device": settings.device.type}),
        processes=processes,
        at_a_time=settings.at_a_time,
        environment=describe(settings.device),
        git=zoo_commit(),
        started=now,
    )
    moved = []
    if state is not None:
        check_settings(folder, state.identity, current)
        moved = moved_since(state.identity, current)
        moved_after = state.progress.epoch if moved else state.identity.moved_after
        git = current.git
        if git and state.identity.git and state.identity.git["dirty"]:
            git = {**git, "dirty": True}  # epochs of uncommitted changes stay in the run
        current = replace(current, git=git, started=state.identity.started or now, moved_after=moved_after)
        if moved:
            state.progress.window_rates = []  # a speed is one machine's
        else:
            current = replace(current, at_a_time=max(current.at_a_time, state.identity.at_a_time))
    batches = train.Batches(loader, selection)
    return Ready(run, inputs, model, *parts, batches, used, current, state, moved)


def _built(run: Run, inputs: Inputs) -> nn.Module:
    """The model of `run` as built, in its memory layout."""
    settings = inputs.settings
    model = inputs.build(run.model, run.seed).to(memory_format=memory_format.LAYOUTS[inputs.layout(run.model)])
    use_side_by_side(model, settings.device, inputs.recipe.precision, settings.compiled)
    return model


def train_on(ready: Ready, reporter: Reporter) -> train.Outcome:
    """Train what is `ready`, saving to its folder.

    Raises :class:`~zoo.errors.MachineError` for what the machine does to it (a killed worker, an operation that is
    not deterministic), :class:`~zoo.errors.RegistryError` for what the model's code raises, and what the `reporter`
    raises.
    """
    run, settings = ready.run, ready.inputs.settings
    reporter.resolved(run, ready.used)
    if ready.moved:
        reporter.moved(ready.moved)
    try:
        with machine_faults(run.name, settings, RESUMES, "training"):
            return train.train(
                ready.model,
                ready.inputs.recipe,
                ready.batches,
                device=settings.device,
                compiled=settings.compiled,
                state=ready.state,
                folder=run.folder,
                identity=ready.identity,
                reporter=reporter,
            )
    finally:
        ready.batches.train.close()


def evaluate_on_splits(ready: Ready, weights: dict[str, Tensor]) -> Evaluated | None:
    """Evaluate the selected `weights` on every split and measure them; None where a logit is infinite or NaN.

    The weights are in a model that was built anew, as whoever loads them has it. Raises
    :class:`~zoo.errors.RegistryError` where that answers otherwise than the one that was trained, and for what the
    model's code raises.
    """
    with machine_faults(ready.run.name, ready.inputs.settings, RESUMES, "evaluation"):
        return _evaluate_on_splits(ready, weights)


def _evaluate_on_splits(ready: Ready, weights: dict[str, Tensor]) -> Evaluated | None:
    inputs, model, layout = ready.inputs, _built(ready.run, ready.inputs), ready.used.layout
    device, recipe = inputs.settings.device, inputs.recipe
    model.load_state_dict(with_versions(model, weights))
    images, labels = (tensor[:CHECKED] for tensor in next(iter(inputs.eval_loader(layout, "train"))))
    ready.model.load_state_dict(with_versions(ready.model, weights))
    answers = [
        evaluate(part, [(images, labels)], device, recipe.precision, recipe.tta) for part in (model, ready.model)
    ]
    if not same_answers(answers[0].logits, answers[1].logits, device, recipe.precision):
        raise RegistryError(f"{ready.run.name}: {NOT_STORED}{unstored(ready.model, model)}; the run is not stored")

    def evaluation(split: str) -> Evaluation:
        return evaluate(model, inputs.eval_loader(layout, split), device, recipe.precision, recipe.tta)

    trained = evaluation("train")
    holdout = evaluation("holdout") if len(inputs.rows[1]) else None
    # Under a leak-free recipe this is the only time that the test images are read.
    test = evaluation("test")
    if not all(part.finite for part in (trained, holdout, test) if part):  # fp16 can overflow on some images only
        return None
    inference = speed.measure_inference(model, device, recipe.precision, layout, inputs.train_shape)
    # The same images again, which were in a larger batch above, and so in the precision that the table is of.
    rounded = evaluate(
        model, [(images * (1 + ROUNDING[recipe.precision]), labels)], device, recipe.precision, recipe.tta
    ).logits
    share = share_beyond_rounding(trained.logits[: len(labels)], answers[0].logits, rounded, recipe.precision)
    depends = share > 0 or dependence_on_batch(ready.model, images) > 0
    return Evaluated(trained, holdout, test, inference, evaluation_batch(device) if depends else None)


def describe_run(
    ready: Ready, outcome: train.Outcome, evaluated: Evaluated | None, peak_memory: int | None, seconds: float
) -> schema.Result:
    """The result of a run that took `seconds` in all; it diverged where nothing was `evaluated`."""
    recipe, identity, progress = ready.inputs.recipe, ready.identity, outcome.progress
    last = progress.history[-1] if progress.history else None
    environment = dict(identity.environment)
    if identity.processes > 1:
        environment["processes"] = identity.processes
    if identity.moved_after:
        environment["moved_after"] = identity.moved_after
    content: dict[str, Any] = {
        "seed": ready.run.seed,
        "model": ready.part.model_copy(update={"batch_dependent": evaluated.batch_dependent if evaluated else None}),
        "recipe": ready.recipe,
        "dataset": ready.dataset,
        "selection": schema.SelectionPart(**recipe.selection.model_dump(), epoch=progress.best_epoch),
        "running_train_loss": last.running_train_loss if last else None,
        "running_train_accuracy": last.running_train_accuracy if last else None,
        "epochs_trained": len(progress.history),
        "speed": describe_speed(outcome, evaluated.inference if evaluated else None, peak_memory, identity.at_a_time),
        "settings": ready.used,
        "environment": environment,
        "git": identity.git,
        "started": identity.started,
        "wall_seconds": seconds,
        "resumes": progress.resumes,
    }
    if evaluated is None:
        where = outcome.diverged or train.Diverged(recipe.epochs, len(ready.batches.train))
        content |= {"diverged_epoch": where.epoch, "diverged_step": where.step}
        content |= dict.fromkeys(("test", "holdout", "train", "epochs_to_90_percent_of_final"))
        return schema.Diverged(status="diverged", **content)
    return schema.Finished(
        status="finished",
        diverged_epoch=None,
        diverged_step=None,
        test=metrics_of(evaluated.test),
        holdout=metrics_of(evaluated.holdout) if evaluated.holdout else None,
        train=metrics_of(evaluated.train),
        epochs_to_90_percent_of_final=epochs_to(progress.history, 0.9),
        **content,
    )


def _store(folder: RunFolder, outcome: train.Outcome, evaluated: Evaluated | None, result: schema.Result) -> None:
    if evaluated is not None and outcome.weights is not None:
        test = evaluated.test
        save_weights(folder.weights, outcome.weights)
        save_predictions(folder.predictions, test.labels.numpy(), test.predicted, test.confidence)
    save_result(folder.result, result)
    folder.forget_state()  # only after the result is safe
