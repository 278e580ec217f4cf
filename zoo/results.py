"""The result of one run: its schema, its folder, and reading and writing both. Missing is null, never 0."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from zoo.errors import ResultError
from zoo.files import write_atomic

SCHEMA_VERSION = 1
FILE = "result.json"


class Part(BaseModel):
    """Frozen; an unknown key is an error, so that an edited or foreign file is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelPart(Part):
    """`definition` is :func:`zoo.build.definition`; `macs` are of one image's forward pass."""

    name: str
    label: str
    norm: str | None
    definition: dict[str, Any]
    parameters: int
    trainable_parameters: int
    macs: int


class RecipePart(Part):
    """`content` is :meth:`zoo.recipe.Recipe.canonical`, whose SHA-256 is `fingerprint`."""

    name: str
    fingerprint: str
    content: dict[str, Any]


class DatasetPart(Part):
    """Image counts as the run used them; `fingerprint` covers images and labels. No path: results travel."""

    name: str
    fingerprint: str
    classes: list[str]
    train_images: int
    holdout_images: int
    test_images: int


class Metrics(Part):
    """Of one split. `confusion`: the row is the label, the column the prediction. `ece`: 15 equal bins (Guo, 2017)."""

    images: int
    correct: int
    accuracy: float
    loss: float
    per_class_accuracy: list[float | None]
    confusion: list[list[int]]
    ece: float


class SelectionPart(Part):
    """Which epoch's weights these are, and what chose them: ``test`` means that the test set did."""

    split: Literal["holdout", "test"]
    rule: Literal["best", "last"]
    metric: Literal["accuracy", "loss"]
    epoch: int | None


class SpeedPart(Part):
    """Images per second and seconds; docs/measuring.md says how each is measured."""

    train_images_per_second: float | None
    window_rates: list[float]
    inference_images_per_second: float | None
    inference_batch_size: int | None
    latency_p50: float | None
    latency_p90: float | None
    latency_p99: float | None
    peak_memory_bytes: int | None


class SettingsPart(Part):
    """What cannot change accuracy, beyond the last bits: recorded beside the recipe."""

    device: str
    layout: Literal["nchw", "channels_last"]
    compiled: bool
    executor: Literal["batched", "albumentations"]
    workers: int


class Result(Part):
    """``result.json``. A run that diverged has its epoch, and null where it has no figure."""

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Literal["finished", "diverged"]
    diverged_epoch: int | None
    diverged_step: int | None
    seed: int
    model: ModelPart
    recipe: RecipePart
    dataset: DatasetPart
    selection: SelectionPart
    test: Metrics | None
    holdout: Metrics | None
    train_loss: float | None
    train_accuracy: float | None
    epochs_trained: int
    speed: SpeedPart
    settings: SettingsPart
    environment: dict[str, Any]
    git: dict[str, Any] | None
    started: str
    wall_seconds: float
    resumes: int


@dataclass(frozen=True)
class RunFolder:
    """``<runs>/<dataset>/<recipe>-<fingerprint8>/<model>/seed<k>`` and the files in it."""

    path: Path

    @classmethod
    def of(cls, runs: Path, dataset: str, recipe_slug: str, model: str, seed: int) -> RunFolder:
        """The folder of one run; it need not exist."""
        return cls(runs / dataset / recipe_slug / model / f"seed{seed}")

    @property
    def result(self) -> Path:
        """Written last: a run with this file is done."""
        return self.path / FILE

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.path / "history.csv"

    @property
    def weights(self) -> Path:
        """The selected epoch's weights."""
        return self.path / "model.safetensors"

    @property
    def state(self) -> Path:
        """What a killed run goes on from; removed when the run is done."""
        return self.path / "state.pt"

    def clear(self) -> None:
        """Remove what an earlier run left here. Raises :class:`ResultError`."""
        for file in (self.result, self.state, self.history, self.weights, self.predictions):
            try:
                file.unlink(missing_ok=True)
            except OSError as problem:
                raise ResultError(f"{file}: cannot be removed ({problem.strerror})") from problem

    @property
    def predictions(self) -> Path:
        """Per test image: label, predicted class, confidence."""
        return self.path / "predictions.npz"


def save_result(path: Path, result: Result) -> None:
    """Write `result` as indented JSON, whole or not at all."""
    text = json.dumps(result.model_dump(mode="json"), indent=1, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")


def load_result(path: Path) -> Result:
    """Read one ``result.json``. Raises :class:`ResultError` for a damaged file or a newer schema."""
    try:
        content = json.loads(path.read_bytes(), parse_constant=_not_finite)
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise ResultError(f"{path}: not valid JSON ({problem}); the file was damaged or edited") from problem
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResultError(f"{path}: has schema version {version}, this zoo reads up to {SCHEMA_VERSION}; upgrade zoo")
    try:
        return Result.model_validate(content)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ResultError(f"{path}: {key}: {first['msg'].lower()}; the file was damaged or edited") from problem


def _not_finite(name: str) -> float:
    raise ValueError(f"{name} is no figure; what is missing is null")


def find_results(roots: Iterable[Path]) -> list[Path]:
    """All ``result.json`` under `roots` (folders, or such files themselves), sorted.

    Raises :class:`ResultError` for a root that does not exist.
    """
    return sorted({path for root in roots for path in _find(root)})


def _find(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    elif root.is_dir():
        yield from root.rglob(FILE)
    else:
        raise ResultError(
            f"no runs in {root}: no such folder; `zoo bench MODEL` makes runs, --runs or an argument names them"
        )


def save_history(path: Path, rows: Sequence[Any]) -> None:
    """Write the epochs, at least one dataclass instance, as CSV; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [item.name for item in fields(rows[0])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomic(path, text.getvalue().encode())


def save_predictions(path: Path, labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> None:
    """Write per-image predictions, (N,) each, in the order of the test split."""
    arrays = {
        "label": labels.astype(np.int16),
        "predicted": predicted.astype(np.int16),
        "confidence": confidence.astype(np.float32),
    }
    write_atomic(path, lambda file: np.savez_compressed(file, **arrays))
