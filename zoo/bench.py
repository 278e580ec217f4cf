"""Models x seeds: plan the runs, do what is not done, store each. Every model gets the same recipe and data."""

from __future__ import annotations

import datetime
import hashlib
import json
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from zoo.build import build, definition
from zoo.data.datasets import Dataset
from zoo.data.loader import EvalLoader, TrainLoader
from zoo.data.split import stratified_holdout, stratified_subset
from zoo.data.transforms import parse
from zoo.engine import speed, train
from zoo.engine.checkpoint import load_state, save_weights
from zoo.engine.evaluate import Evaluation, evaluate
from zoo.engine.machine import PeakMemory, describe, git_state
from zoo.errors import RecipeError, ResultError
from zoo.files import remove_leftovers
from zoo.recipe import Recipe
from zoo.registry import Model
from zoo.results import (
    DatasetPart,
    Metrics,
    ModelPart,
    RecipePart,
    Result,
    RunFolder,
    SelectionPart,
    SettingsPart,
    SpeedPart,
    load_result,
    save_history,
    save_predictions,
    save_result,
)
from zoo.seeding import derive

EVAL_BATCH = {"cpu": 256, "cuda": 2048}


@dataclass(frozen=True)
class Settings:
    """What cannot change accuracy: where and how a run is computed. ``auto`` is settled per machine and recorded."""

    device: torch.device
    layout: str  # auto, nchw or channels_last
    executor: str  # auto, batched or albumentations
    workers: int
    compiled: bool


@dataclass(frozen=True)
class Run:
    """One model with one seed, and where its files go."""

    model: Model
    seed: int
    folder: RunFolder


class Reporter(train.Reporter, Protocol):
    """Progress of a whole bench."""

    def run(self, run: Run, number: int, total: int) -> None:
        """A run starts."""

    def settled(self, run: Run, settings: SettingsPart) -> None:
        """The layout and executor of a run are decided."""

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """A run is stored, or was stored before."""


def plan(models: Sequence[Model], seeds: Iterable[int], recipe: Recipe, dataset: str, runs: Path) -> list[Run]:
    """All runs, seed by seed, so that a bench that is stopped has compared all models on the seeds it has done."""
    return [
        Run(model, seed, RunFolder.of(runs, dataset, recipe.slug, model.name, seed))
        for seed in seeds
        for model in models
    ]


def check(models: Iterable[Model], recipe: Recipe, dataset: Dataset) -> None:
    """Find the mistakes of every model and of the recipe's lists before the first long run, not after it.

    Raises :class:`RecipeError` for a wrong transform or split and :class:`zoo.errors.RegistryError` for a model that does not build.
    """
    for name in ("train", "eval"):
        parse(getattr(recipe.augment, name), f"recipe {recipe.name!r}: augment.{name}")
    split_rows(recipe, dataset)
    for model in models:
        build(model, dataset.num_classes)


def bench(
    runs: Sequence[Run], recipe: Recipe, dataset: Dataset, settings: Settings, reporter: Reporter, restart: bool = False
) -> list[Result]:
    """Do every run of the plan that has no result yet and give all results, in the plan's order.

    `recipe.precision` is settled (not ``auto``). `restart` throws away what the runs have stored. Raises
    :class:`ResultError` when a stored run is of another definition of the model or of other data, and what
    :func:`run_one` raises.
    """
    results = []
    for number, run in enumerate(runs, 1):
        reporter.run(run, number, len(runs))
        identity = _identity(run, recipe, dataset)
        if restart:
            for file in (run.folder.result, run.folder.state):
                file.unlink(missing_ok=True)
        was_done = run.folder.result.is_file()
        if was_done:
            result = load_result(run.folder.result)
            _check_identity(run, _identity_of(result), identity)
        else:
            result = run_one(run, recipe, dataset, settings, identity, reporter)
        reporter.finished(run, result, was_done)
        results.append(result)
    return results


def run_one(
    run: Run, recipe: Recipe, dataset: Dataset, settings: Settings, identity: dict[str, Any], reporter: Reporter
) -> Result:
    """Train, select, test once, measure and store one run, going on from its saved state when there is one."""
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    device = settings.device
    _make_folder(run.folder.path)
    memory = PeakMemory(device)

    torch.manual_seed(derive("init", run.seed))  # the initial weights depend on the seed and the model alone
    model = build(run.model, dataset.num_classes).to(device)
    image_shape = (3, *dataset.train.images.shape[1:3])
    parameters, trainable = speed.count_parameters(model)
    macs = speed.count_macs(model, image_shape, device)

    state, earlier_seconds = load_state(run.folder.state), 0.0
    if state is not None:
        _check_identity(run, state["identity"]["run"], identity)
        layout = state["identity"]["layout"]  # an automatic choice is made once, so that a resumed run repeats it
        earlier_seconds = sum(row["train_seconds"] + row["eval_seconds"] for row in state["progress"]["history"])
    elif settings.layout == "auto":
        layout = speed.choose_layout(model, recipe, device, image_shape)
    else:
        layout = settings.layout
    model = model.to(memory_format=speed.LAYOUTS[layout])

    train_rows, holdout_rows = split_rows(recipe, dataset)
    common = {"device": device, "executor": settings.executor, "channels_last": layout == "channels_last"}

    def eval_loader(split: str, rows: np.ndarray | None = None) -> EvalLoader:
        part = dataset.split(split)
        return EvalLoader(
            part.images, part.labels, recipe.augment.eval, batch_size=EVAL_BATCH[device.type], indices=rows, **common
        )

    selection = None
    if recipe.selection.split == "test":
        selection = eval_loader("test")
    elif len(holdout_rows):
        selection = eval_loader("train", holdout_rows)
    loader = TrainLoader(
        dataset.train.images,
        dataset.train.labels,
        recipe.augment.train,
        batch_size=recipe.batch_size,
        seed=run.seed,
        workers=settings.workers,
        drop_last=recipe.drop_last,
        indices=train_rows,
        **common,
    )
    used = SettingsPart(
        device=str(device),
        layout=layout,
        compiled=settings.compiled,
        executor=loader.executor_name,
        workers=settings.workers if loader.executor_name == "albumentations" else 0,
    )
    reporter.settled(run, used)
    try:
        outcome = train.train(
            model,
            recipe,
            train.Batches(loader, selection),
            seed=run.seed,
            device=device,
            compiled=settings.compiled,
            state=state,
            state_path=run.folder.state,
            identity={"run": identity, "layout": layout},
            reporter=reporter,
        )
    finally:
        loader.close()
    peak_memory = memory.read()

    test = holdout = inference = None
    if outcome.diverged is None:
        model.load_state_dict(outcome.weights)
        if len(holdout_rows):
            holdout = evaluate(model, eval_loader("train", holdout_rows), device, recipe.precision)
        # Under a leak-free recipe this is the only time that the test images are read.
        test = evaluate(model, eval_loader("test"), device, recipe.precision)
        inference = speed.measure_inference(model, device, recipe.precision, layout, image_shape)
        save_weights(run.folder.weights, outcome.weights, {"model": run.model.name, "recipe": recipe.fingerprint})
        save_predictions(run.folder.predictions, test.labels.numpy(), test.predicted, test.confidence)
    save_history(run.folder.history, outcome.history)

    last = outcome.history[-1] if outcome.history else None
    result = Result(
        status="diverged" if outcome.diverged else "finished",
        diverged_epoch=outcome.diverged.epoch if outcome.diverged else None,
        diverged_step=outcome.diverged.step if outcome.diverged else None,
        seed=run.seed,
        model=ModelPart(
            name=run.model.name,
            label=run.model.label,
            norm=run.model.norm.name if run.model.norm else None,
            definition=identity["definition"],
            parameters=parameters,
            trainable_parameters=trainable,
            macs=macs,
        ),
        recipe=RecipePart(name=recipe.name, fingerprint=recipe.fingerprint, content=recipe.canonical()),
        dataset=DatasetPart(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            source=dataset.source,
            classes=list(dataset.classes),
            train_images=len(train_rows),
            holdout_images=len(holdout_rows),
            test_images=len(dataset.split("test").labels),
        ),
        selection=SelectionPart(
            split=recipe.selection.split,
            rule=recipe.selection.rule,
            metric=recipe.selection.metric,
            epoch=outcome.selected_epoch,
        ),
        test=_metrics(test) if test else None,
        holdout=_metrics(holdout) if holdout else None,
        train_loss=last.train_loss if last else None,
        train_accuracy=last.train_accuracy if last else None,
        epochs_trained=len(outcome.history),
        speed=SpeedPart(
            train_images_per_second=statistics.median(outcome.window_rates) if outcome.window_rates else None,
            window_rates=[round(rate, 1) for rate in outcome.window_rates],
            inference_images_per_second=inference.images_per_second if inference else None,
            inference_batch_size=inference.batch_size if inference else None,
            latency_p50=inference.latency_p50 if inference else None,
            latency_p90=inference.latency_p90 if inference else None,
            latency_p99=inference.latency_p99 if inference else None,
            peak_memory_bytes=peak_memory,
        ),
        settings=used,
        environment=describe(device),
        git=git_state(),
        started=started.isoformat(timespec="seconds"),
        wall_seconds=earlier_seconds + time.perf_counter() - clock,
        resumes=outcome.resumes,
    )
    save_result(run.folder.result, result)
    run.folder.state.unlink(missing_ok=True)  # only after the result is safe
    return result


def split_rows(recipe: Recipe, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the train split that are trained on, and those held out: by the recipe alone, equal for every seed.

    Raises :class:`RecipeError` when the recipe asks for more images than there are.
    """
    labels, wanted = dataset.train.labels, recipe.split.holdout + (recipe.split.train or 1)
    if wanted > len(labels):
        raise RecipeError(
            f"recipe {recipe.name!r}: split asks for {wanted} images but {dataset.name} has {len(labels)} to train on; "
            "lower split.holdout or split.train with --set"
        )
    rows, holdout = stratified_holdout(labels, recipe.split.holdout, recipe.split.seed)
    if recipe.split.train is not None:
        rows = rows[stratified_subset(labels[rows], recipe.split.train, recipe.split.seed)]
    return rows, holdout


def _metrics(evaluation: Evaluation) -> Metrics:
    confusion = evaluation.confusion()
    counts, hits = confusion.sum(1), confusion.diagonal()
    return Metrics(
        images=int(counts.sum()),
        correct=int(hits.sum()),
        accuracy=evaluation.accuracy,
        loss=evaluation.loss,
        per_class_accuracy=[int(hit) / int(count) if count else None for hit, count in zip(hits, counts, strict=True)],
        confusion=confusion.tolist(),
        ece=evaluation.expected_calibration_error(),
    )


def _identity(run: Run, recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    return {"recipe": recipe.fingerprint, "dataset": dataset.fingerprint, "definition": definition(run.model)}


def _identity_of(result: Result) -> dict[str, Any]:
    return {
        "recipe": result.recipe.fingerprint,
        "dataset": result.dataset.fingerprint,
        "definition": result.model.definition,
    }


def _check_identity(run: Run, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """A stored run is taken up again only if it is the same experiment."""
    for part, words in (
        ("recipe", "recipe"),
        ("dataset", "data set"),
        ("definition", f"definition of {run.model.name}"),
    ):
        if _digest(stored.get(part)) != _digest(wanted[part]):
            raise ResultError(
                f"{run.folder.path}: was made with another {words}; "
                "give --restart to run it again in place, or another --runs folder to keep both"
            )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ResultError(
            f"{folder}: cannot be made ({problem.strerror}); choose another place with --runs"
        ) from problem
    remove_leftovers(folder)
