"""From the calls of a bench's reporter to what trackers keep: parameters, a record for each epoch, the end."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from zoo.data.datasets import Dataset
from zoo.engine.reporter import Reporter
from zoo.errors import ResultError
from zoo.recipes.recipe import Recipe
from zoo.results.fields import Git
from zoo.results.history import EpochRow, load_history
from zoo.results.run import Run
from zoo.results.schema import Result, SettingsPart
from zoo.track.tracker import Entry, Tracker
from zoo.utils.files import read_file, write_atomic
from zoo.utils.text import named

ARTIFACTS = {"result.json": "zoo-result.json", "history.csv": "zoo-history.csv"}  # else `zoo compare` finds them too


class _Track(BaseModel):
    """``track.json``. An id is part of file names and queries, so it is one that :func:`run_id` makes."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Tracked(Reporter):
    """Logs epochs and ends to `trackers`.

    A run appears with its first epoch, so that one that is killed before leaves nothing. A tracker that raises is taken
    from the list, which other recipes of the command share, and `say` is called with one line about it.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        trackers: list[Tracker],
        recipe: Recipe,
        dataset: Dataset,
        git: Git | None,
    ) -> None:
        self._say, self.trackers, self.recipe, self.dataset, self.git = say, trackers, recipe, dataset, git
        self._entry: Entry | None = None

    def run(self, run: Run, number: int, total: int) -> None:
        """No tracker is called before there is an epoch."""
        self._run, self._entry = run, None
        self._written, self._unwritten = 0, list[EpochRow]()

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """They are parameters of the run."""
        self._settings, self._git = settings, self.git

    def resumed(self, epoch: int, epochs: int) -> None:
        """The run is opened again."""
        self._log(lambda tracker: self._begin(tracker, epoch, fresh=epoch == 0))

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """The epoch's metrics are logged, as soon as no kill can lose it: it would be trained again and there twice."""
        self._unwritten.append(row)
        self.written(self._written)

    def written(self, epoch: int) -> None:
        """What waited for it is logged, in a run that its first epoch opens."""
        self._written = epoch
        while self._unwritten and self._unwritten[0].epoch <= epoch:
            self._epoch(self._unwritten.pop(0))

    def _epoch(self, row: EpochRow) -> None:
        if self._entry is None:
            self._log(lambda tracker: self._begin(tracker, 0, fresh=True))
        self._log(lambda tracker: tracker.log(row.epoch, epoch_metrics(row)))

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """The metrics of the result are logged, and all of a run that the tracker lacks."""
        begun = self._entry is not None
        if was_done:
            self._settings, self._git = result.settings, result.git
        self._log(lambda tracker: self._finish(tracker, result, was_done, begun))

    def _begin(self, tracker: Tracker, after: int, *, fresh: bool) -> None:
        """Open the run and log those of the epochs up to `after` that the tracker lacks."""
        logged = tracker.begin(self._enter(fresh=fresh), fresh=self._fresh)
        for row in load_history(self._run.folder.history)[:after] if after else ():
            if row.epoch not in logged:
                tracker.log(row.epoch, epoch_metrics(row))

    def _finish(self, tracker: Tracker, result: Result, was_done: bool, begun: bool) -> None:
        fresh = not was_done and result.epochs_trained == 0
        entry = self._enter(fresh=fresh)
        if was_done and not self._fresh and tracker.holds(entry):
            return
        if not begun:  # done before, or diverged in its first epoch
            self._begin(tracker, result.epochs_trained, fresh=fresh)
        folder = self._run.folder.path
        files = {name: (folder / file).read_text() for file, name in ARTIFACTS.items() if (folder / file).is_file()}
        tracker.end(result.status, result.epochs_trained, final_metrics(result), files)

    def _enter(self, *, fresh: bool) -> Entry:
        """The run's entry, made once; it is fresh too where another machine has begun it anew and no id is left."""
        if self._entry is not None:
            return self._entry
        folder, model, git = self._run.folder, self._run.model, self._git
        self._fresh = fresh or not folder.track.is_file()
        params = {
            "model": model.name,
            "label": model.label,
            "norm": model.norm.name if model.norm else None,
            "seed": self._run.seed,
            "dataset": self.dataset.name,
            "dataset_fingerprint": self.dataset.fingerprint,
            "recipe": self.recipe.name,
            "recipe_fingerprint": self.recipe.fingerprint,
            "git_commit": git["commit"] if git else None,
            "git_dirty": git["dirty"] if git else None,
            **self._settings.model_dump(),
            **flatten(self.recipe.canonical()),
        }
        params = {name: value for name, value in params.items() if value is not None}
        self._entry = Entry(run_id(folder.track, self._fresh), PurePath(*folder.path.parts[-4:]), params)
        return self._entry

    def _log(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                what(tracker)
            except Exception as problem:  # whatever a library or its server comes up with: the training is worth more
                self.trackers.remove(tracker)
                self._say(f"zoo: {tracker.name} is off from here on ({named(problem)}); the run itself continues")
                with contextlib.suppress(Exception):
                    tracker.close()


def run_id(file: Path, fresh: bool) -> str:
    """The id in `file`, made and written where there is none yet, or where a run begins anew (`fresh`)."""
    if not fresh and file.is_file():
        try:
            return _Track.model_validate_json(read_file(file, 1000)).id
        except (OSError, ValidationError) as problem:
            raise ResultError(
                f"{file}: damaged or edited; remove it, and trackers take this for a new run"
            ) from problem
    new = uuid.uuid4().hex
    write_atomic(file, json.dumps({"id": new}).encode() + b"\n")
    return new


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by the dotted names that ``--set`` takes; a list becomes JSON."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value) if isinstance(value, list) else value
    return flat


def epoch_metrics(row: EpochRow) -> dict[str, float]:
    """What is logged of one epoch: losses in nats, accuracies 0 to 1, images per second."""
    metrics = {
        "lr": row.lr,
        "train/running_loss": row.running_train_loss,
        "train/running_accuracy": row.running_train_accuracy,
        "train/images_per_second": row.train_images_per_second,
    }
    if row.eval_split and row.eval_loss is not None and row.eval_accuracy is not None:
        metrics |= {f"{row.eval_split}/loss": row.eval_loss, f"{row.eval_split}/accuracy": row.eval_accuracy}
    return metrics


def final_metrics(result: Result) -> dict[str, float]:
    """What is logged at the end, under ``final/``; what was not measured is left out. Times in seconds."""
    metrics: dict[str, float | None] = {
        f"{split}_{name}": getattr(part, name)
        for split, part in (("test", result.test), ("holdout", result.holdout), ("train", result.train))
        if part
        for name in ("accuracy", "top5_accuracy", "loss", "ece", "brier")
    }
    metrics |= {"parameters": result.model.parameters, "macs": result.model.macs, "wall_seconds": result.wall_seconds}
    metrics |= {"selected_epoch": result.selection.epoch, "diverged_epoch": result.diverged_epoch}
    hidden = {"window_rates", "inference_batch_size", "inference_quartiles", "latency_quartiles"}
    metrics |= result.speed.model_dump(exclude=hidden)
    for name, (low, high) in result.speed.quartiles.items():
        metrics |= {
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_disturbed": float(name in result.speed.disturbed),
        }
    return {f"final/{name}": value for name, value in metrics.items() if value is not None}
