"""From the calls of a bench's reporter to what trackers keep: parameters, a record for each epoch, the end."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

from zoo.data.datasets import Dataset
from zoo.errors import ResultError
from zoo.recipes.recipe import Recipe
from zoo.results.history import EpochRow, load_history
from zoo.results.run import Run
from zoo.results.schema import Result, SettingsPart
from zoo.runner.sweep import Reporter
from zoo.track.tracker import Entry, Tracker, one_line
from zoo.utils.files import write_atomic

ARTIFACTS = {"result.json": "zoo-result.json", "history.csv": "zoo-history.csv"}  # else `zoo compare` finds them too


class Tracked:
    """A reporter that passes every call on to `shown` and tells `trackers` of epochs and ends.

    A run appears with its first epoch, so that one that is killed before leaves nothing. A tracker that raises is taken
    from the list, which other recipes of the command share, with one line.
    """

    def __init__(
        self,
        shown: Reporter,
        say: Callable[[str], None],
        trackers: list[Tracker],
        recipe: Recipe,
        dataset: Dataset,
        git: dict[str, Any] | None,
    ) -> None:
        self.shown, self.say, self.trackers = shown, say, trackers
        self.recipe, self.dataset, self.git = recipe, dataset, git

    def run(self, run: Run, number: int, total: int) -> None:
        """See :class:`zoo.runner.sweep.Reporter`."""
        self._run, self._settings, self._entry = run, None, None
        self.shown.run(run, number, total)

    def resolved(self, run: Run, settings: SettingsPart) -> None:
        """See :class:`zoo.runner.run_one.Reporter`."""
        self._settings = settings
        self.shown.resolved(run, settings)

    def moved(self, changed: Sequence[str]) -> None:
        """See :class:`zoo.runner.run_one.Reporter`."""
        self.shown.moved(changed)

    def resumed(self, epoch: int, epochs: int) -> None:
        """See :class:`zoo.engine.train.Reporter`."""
        self.shown.resumed(epoch, epochs)
        self._tell(lambda tracker: self._begin(tracker, epoch))

    def window(self, epoch: int, epochs: int, step: int, steps: int, loss: float, accuracy: float, rate: float) -> None:
        """See :class:`zoo.engine.train.Reporter`."""
        self.shown.window(epoch, epochs, step, steps, loss, accuracy, rate)

    def epoch(self, row: EpochRow, epochs: int, rose_from: float | None, saved: bool) -> None:
        """See :class:`zoo.engine.train.Reporter`."""
        self.shown.epoch(row, epochs, rose_from, saved)
        if self._entry is None:
            self._tell(lambda tracker: self._begin(tracker, 0))
        self._tell(lambda tracker: tracker.log(row.epoch, epoch_metrics(row)))

    def finished(self, run: Run, result: Result, was_done: bool) -> None:
        """See :class:`zoo.runner.sweep.Reporter`."""
        self.shown.finished(run, result, was_done)
        begun = self._entry is not None
        self._tell(lambda tracker: self._finish(tracker, result, was_done, begun))

    def _begin(self, tracker: Tracker, after: int) -> None:
        """Open the run and tell what the tracker has not heard of the epochs up to `after`."""
        self._enter(self._settings, self.git, fresh=after == 0)
        known = tracker.begin(self._entry, fresh=self._fresh)
        for row in load_history(self._run.folder.history)[:after] if after else ():
            if row.epoch not in known:
                tracker.log(row.epoch, epoch_metrics(row))

    def _finish(self, tracker: Tracker, result: Result, was_done: bool, begun: bool) -> None:
        if was_done:
            self._enter(result.settings, result.git, fresh=False)
            if not self._fresh and tracker.holds(self._entry):
                return
        if not begun:  # done before, or diverged in its first epoch
            self._begin(tracker, result.epochs_trained)
        folder = self._run.folder.path
        files = {name: (folder / file).read_text() for file, name in ARTIFACTS.items() if (folder / file).is_file()}
        tracker.end(result.status, result.epochs_trained, final_metrics(result), files)

    def _enter(self, settings: SettingsPart, git: dict[str, Any] | None, *, fresh: bool) -> None:
        """Make the run's entry once; it is fresh too where another machine has begun it anew and no id is left."""
        if self._entry is not None:
            return
        folder, model = self._run.folder, self._run.model
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
            **settings.model_dump(),
            **flatten(self.recipe.canonical()),
        }
        told = {name: value for name, value in params.items() if value is not None}
        self._entry = Entry(run_id(folder.track, self._fresh), PurePath(*folder.path.parts[-4:]), told)

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                what(tracker)
            except Exception as problem:  # whatever a library or its server comes up with: the training is worth more
                self.trackers.remove(tracker)
                self.say(f"zoo: {tracker.name} is off from here on ({one_line(problem)}); the run itself goes on")
                with contextlib.suppress(Exception):
                    tracker.close()


def run_id(file: Path, fresh: bool) -> str:
    """The id in `file`, made and written where there is none yet, or where a run begins anew (`fresh`)."""
    if not fresh and file.is_file():
        try:
            return json.loads(file.read_text())["id"]
        except (ValueError, KeyError, TypeError) as problem:
            raise ResultError(
                f"{file}: damaged or edited; remove it, and trackers take this for a new run"
            ) from problem
    made = uuid.uuid4().hex
    write_atomic(file, json.dumps({"id": made}).encode() + b"\n")
    return made


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
    """What is told of one epoch: losses in nats, accuracies 0 to 1, images per second."""
    metrics = {
        "lr": row.lr,
        "train/loss": row.train_loss,
        "train/accuracy": row.train_accuracy,
        "train/images_per_second": row.train_images_per_second,
    }
    if row.eval_split:
        metrics |= {f"{row.eval_split}/loss": row.eval_loss, f"{row.eval_split}/accuracy": row.eval_accuracy}
    return metrics


def final_metrics(result: Result) -> dict[str, float]:
    """What is told at the end, under ``final/``; what the run has no figure of is left out. Times in seconds."""
    found: dict[str, float | None] = {
        f"{split}_{name}": getattr(part, name)
        for split, part in (("test", result.test), ("holdout", result.holdout), ("train", result.train))
        if part
        for name in ("accuracy", "top5_accuracy", "loss", "ece", "brier")
    }
    found |= {"parameters": result.model.parameters, "macs": result.model.macs, "wall_seconds": result.wall_seconds}
    found |= {"selected_epoch": result.selection.epoch, "diverged_epoch": result.diverged_epoch}
    found |= result.speed.model_dump(exclude={"window_rates", "inference_batch_size"})
    return {f"final/{name}": value for name, value in found.items() if value is not None}
