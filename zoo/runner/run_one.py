"""One run from seed to stored result: build, train, select, test once, measure, record."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from zoo.builder.construct import build
from zoo.data.loader import EvalLoader
from zoo.engine import memory_format, speed, train
from zoo.engine.checkpoint import Identity, SavedState, load_state, save_weights
from zoo.engine.convolution import use_side_by_side
from zoo.engine.environment import describe, zoo_commit
from zoo.engine.evaluate import evaluate
from zoo.engine.machine import configure_arithmetic, fresh_compiler
from zoo.engine.memory import PeakMemory
from zoo.engine.reporter import Reporter
from zoo.results.folder import save_predictions, save_result
from zoo.results.history import epochs_to, save_history
from zoo.results.run import Run
from zoo.results.schema import (
    RESULT,
    BaseResult,
    DatasetPart,
    ModelPart,
    RecipePart,
    Result,
    SelectionPart,
    SettingsPart,
)
from zoo.runner.identity import check_identity, check_settings, moved_since, started_with
from zoo.runner.inputs import Inputs
from zoo.runner.record import describe_model, describe_speed, metrics_of
from zoo.runner.settings import machine_faults
from zoo.utils.seeding import derive

GOES_ON = "the same command goes on after the last finished epoch"


@dataclass(frozen=True)
class Ready:
    """A run that is ready to be trained: its model on the device, its loaders, and the state that it goes on from."""

    run: Run
    inputs: Inputs
    model: nn.Module
    part: ModelPart
    batches: train.Batches
    used: SettingsPart
    identity: Identity
    state: SavedState | None
    moved: list[str]  # names of hardware and software that are not as they were when the state was saved


def set_up(run: Run, inputs: Inputs, *, identity: dict[str, Any]) -> Ready:
    """Build the model and the loaders of `run` and read its saved state.

    `identity` is :func:`~zoo.runner.identity.identity_of`. Raises :class:`zoo.errors.ResultError` for a saved
    state that is damaged or of another experiment, and as :func:`train_on` does for a model that fails in its first
    forward pass.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    settings, device, folder = inputs.settings, inputs.settings.device, run.folder
    configure_arithmetic(settings.deterministic)
    fresh_compiler(settings.compiled)

    torch.manual_seed(derive("init", run.seed))  # the initial weights depend on the seed and the model alone
    model = build(run.model, inputs.dataset.num_classes).to(device)
    with machine_faults(run.name, settings, GOES_ON):  # its first forward pass
        model_part = describe_model(run.model, model, identity["definition"], inputs)

    state = load_state(folder.state)
    if state is not None:
        check_identity(folder, run.model, state.identity.run, identity)
        layout = state.identity.settings.layout  # an automatic choice is made once: a resumed run repeats it
        if settings.layout not in ("auto", layout):
            raise started_with(folder, "layout", layout)
    else:
        layout = inputs.layout(model, identity["definition"])
    model = model.to(memory_format=memory_format.LAYOUTS[layout])
    use_side_by_side(model, device, inputs.recipe.precision, settings.compiled)

    loader = inputs.train_loader(layout, run.seed)
    used = SettingsPart(
        device=str(device),
        layout=layout,
        compiled=settings.compiled,
        executor=loader.executor_name,
        workers=settings.workers if loader.executor_name == "albumentations" else 0,
        deterministic=settings.deterministic,
    )
    selection = inputs.eval_loader(layout, inputs.recipe.selection.split) if inputs.selection_images else None
    processes = settings.distributed.world_size
    saved = Identity(
        run=identity,
        # Each of several processes has a GPU of its own.
        settings=used if processes == 1 else used.model_copy(update={"device": device.type}),
        processes=processes,
        environment=describe(device),
        git=zoo_commit(),
        started=now,
    )
    moved = []
    if state is not None:
        check_settings(folder, state.identity, saved)
        moved = moved_since(state.identity, saved)
        saved = replace(
            saved,
            started=state.identity.started or now,
            moved_after=state.progress.epoch if moved else state.identity.moved_after,
        )
        if moved:
            state.progress.window_rates = []  # a speed is one machine's
    return Ready(
        run=run,
        inputs=inputs,
        model=model,
        part=model_part,
        batches=train.Batches(loader, selection),
        used=used,
        identity=saved,
        state=state,
        moved=moved,
    )


def train_on(ready: Ready, reporter: Reporter) -> train.Outcome:
    """Train what is `ready`, saving to its folder after every epoch.

    Raises :class:`~zoo.errors.MachineError` for what the machine does to it (a killed worker, an operation that is
    not deterministic), and what the `reporter` raises.
    """
    run, settings = ready.run, ready.inputs.settings
    reporter.resolved(run, ready.used)
    if ready.moved:
        reporter.moved(ready.moved)
    try:
        with machine_faults(run.name, settings, GOES_ON):
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


def run_one(
    run: Run,
    inputs: Inputs,
    reporter: Reporter,
    *,
    identity: dict[str, Any],
) -> Result | None:
    """Do one run, going on from its saved state when there is one, and store it; None in all processes but the first.

    `identity` is :func:`~zoo.runner.identity.identity_of`. Raises as :func:`set_up` and :func:`train_on` do, and what
    the files raise.
    """
    clock = time.perf_counter()
    recipe, dataset, settings = inputs.recipe, inputs.dataset, inputs.settings
    device, folder = settings.device, run.folder
    ready = set_up(run, inputs, identity=identity)
    memory = PeakMemory(device)
    outcome = train_on(ready, reporter)
    if not settings.distributed.is_main:
        return None
    # Nothing was trained here where only the test was left to do.
    trained_here = ready.state is None or ready.state.progress.epoch < recipe.epochs
    peak_memory = memory.read() if trained_here else None

    diverged = outcome.diverged
    test = holdout = trained = inference = None
    model, layout = ready.model, ready.used.layout

    def images_of(split: str) -> EvalLoader:
        return inputs.eval_loader(layout, split)

    if diverged is None:
        model.load_state_dict(outcome.weights)
        how = (device, recipe.precision, recipe.tta)
        trained = evaluate(model, images_of("train"), *how)
        if len(inputs.rows[1]):
            holdout = evaluate(model, images_of("holdout"), *how)
        # Under a leak-free recipe this is the only time that the test images are read.
        test = evaluate(model, images_of("test"), *how)
        if not all(part.finite for part in (trained, holdout, test) if part):  # fp16 can overflow on some images only
            diverged, test, holdout, trained = train.Diverged(recipe.epochs, len(ready.batches.train)), None, None, None
    if diverged is None:
        inference = speed.measure_inference(model, device, recipe.precision, layout, inputs.shape)
        save_weights(folder.weights, outcome.weights)
        save_predictions(folder.predictions, test.labels.numpy(), test.predicted, test.confidence)

    last = outcome.history[-1] if outcome.history else None
    before = ready.state.progress.history if ready.state is not None else []
    content = BaseResult(
        status="diverged" if diverged else "finished",
        diverged_epoch=diverged.epoch if diverged else None,
        diverged_step=diverged.step if diverged else None,
        seed=run.seed,
        model=ready.part,
        recipe=RecipePart(name=recipe.name, fingerprint=recipe.fingerprint, content=recipe.canonical()),
        dataset=DatasetPart(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            classes=list(dataset.classes),
            train_images=len(inputs.rows[0]),
            holdout_images=len(inputs.rows[1]),
            test_images=len(dataset.test),
        ),
        selection=SelectionPart(**recipe.selection.model_dump(), epoch=outcome.selected_epoch),
        test=metrics_of(test) if test else None,
        holdout=metrics_of(holdout) if holdout else None,
        train=metrics_of(trained) if trained else None,
        train_loss=last.train_loss if last else None,
        train_accuracy=last.train_accuracy if last else None,
        epochs_trained=len(outcome.history),
        epochs_to_90_percent=epochs_to(outcome.history, 0.9) if diverged is None else None,
        speed=describe_speed(outcome, inference, peak_memory),
        settings=ready.used,
        environment=ready.identity.environment
        | ({"processes": settings.distributed.world_size} if settings.distributed.world_size > 1 else {})
        | ({"moved_after": ready.identity.moved_after} if ready.identity.moved_after else {}),
        git=ready.identity.git,
        started=ready.identity.started,
        # A resumed run has also spent the time of the epochs that it did before.
        wall_seconds=time.perf_counter() - clock + sum(row.train_seconds + row.eval_seconds for row in before),
        resumes=outcome.resumes,
    )
    result = RESULT.validate_python(dict(content))
    if outcome.diverged and outcome.history:
        # The file is an epoch ahead where a session was killed before it saved its state, and this one ends there.
        save_history(folder.history, outcome.history)
    save_result(folder.result, result)
    folder.state.unlink(missing_ok=True)  # only after the result is safe
    return result
