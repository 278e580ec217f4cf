"""The result of one run: its schema, its folder, and reading and writing both. Missing is null, never 0."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from zoo.errors import ResultError
from zoo.files import write_atomic
from zoo.gcpause import paused_gc

SCHEMA_VERSION = 2  # 2: train, epochs_to_90_percent, top5_accuracy, brier, activation_bytes, deterministic
FILE = "result.json"


class Part(BaseModel):
    """Frozen; an unknown key is an error, so that an edited or foreign file is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelPart(Part):
    """`definition` is :func:`zoo.builder.definition`; `macs` are of one image's forward pass, half its FLOPs.

    `activation_bytes` is what autograd keeps of one image from forward to backward, in the run's precision.
    `notes` says what was done to the model as it was built: its stem, its norms, its weights (:mod:`zoo.notes`).
    """

    name: str
    label: str
    norm: str | None
    definition: dict[str, Any]
    parameters: int
    trainable_parameters: int
    macs: int
    activation_bytes: int | None
    notes: list[str] = Field(default_factory=list)


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
    """Of one split; shares from 0 to 1, losses in nats. `confusion`: the row is the label, the column the prediction.

    `ece`: 15 equal bins (Guo, 2017). `brier`: squared error of the probabilities, summed over classes, 0 to 2 (Brier,
    1950). `top5_accuracy` is None where there are five classes or fewer.
    """

    images: int
    correct: int
    accuracy: float
    top5_accuracy: float | None
    loss: float
    per_class_accuracy: list[float | None]
    confusion: list[list[int]]
    ece: float
    brier: float | None

    @model_validator(mode="after")
    def _adds_up(self) -> Metrics:
        """One figure changed by hand contradicts the others."""
        counts = [sum(row) for row in self.confusion]
        hits = [row[label] if label < len(row) else 0 for label, row in enumerate(self.confusion)]
        if (sum(counts), sum(hits)) != (self.images, self.correct) or self.images <= 0:
            told = f"{self.correct} correct of {self.images} images"
            raise ValueError(f"{told}, but the confusion matrix says {sum(hits)} of {sum(counts)}")
        if abs(self.accuracy - self.correct / self.images) > 1e-6:
            raise ValueError(f"accuracy {self.accuracy}, but {self.correct} of {self.images} images are correct")
        return self


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
    deterministic: bool


class Result(Part):
    """``result.json``. A run that diverged has its epoch, and null where it has no figure.

    `train_loss` and `train_accuracy` are of the last epoch's augmented batches, as they went by; `train` is of
    unaugmented training images (as many as the test set has, drawn by the recipe) under the selected weights.
    `epochs_to_90_percent`: the first epoch whose accuracy on the selection split is 90 % of the last epoch's.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
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
    train: Metrics | None
    train_loss: float | None
    train_accuracy: float | None
    epochs_trained: int
    epochs_to_90_percent: int | None
    speed: SpeedPart
    settings: SettingsPart
    environment: dict[str, Any]
    git: dict[str, Any] | None
    started: str
    wall_seconds: float
    resumes: int

    def _repr_html_(self) -> str:
        from zoo.report.html import result_html  # a notebook asks for it; nothing in zoo does

        return result_html(self)


@dataclass(frozen=True)
class EpochRow:
    """One line of ``history.csv``. Losses in nats, accuracies 0 to 1; None where nothing was measured."""

    epoch: int  # 1 is the first
    lr: float  # at the epoch's last step
    train_loss: float
    train_accuracy: float
    eval_split: str | None  # "holdout" or "test", by the recipe's selection
    eval_loss: float | None
    eval_accuracy: float | None
    train_images_per_second: float
    train_seconds: float
    eval_seconds: float


def model_folder(model: str) -> str:
    """A folder's name for `model`: its own, or, where it has characters that no name of a registry has, what is
    readable of it with a digest, so that no two models share a folder.

    >>> model_folder("resnet18_bn"), model_folder("timm:resnet18@ln")
    ('resnet18_bn', 'timm-resnet18-ln-b9eb4b3b')
    """
    readable = re.sub(r"[^A-Za-z0-9_.+-]+", "-", model)
    if readable == model:
        return model
    return f"{readable[-60:].strip('-.')}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class RunFolder:
    """``<runs>/<dataset>/<recipe>-<fingerprint8>/<model>/seed<k>`` and the files in it."""

    path: Path

    @classmethod
    def of(cls, runs: Path, dataset: str, recipe_slug: str, model: str, seed: int) -> RunFolder:
        """The folder of one run; it need not exist."""
        return cls(runs / dataset / recipe_slug / model_folder(model) / f"seed{seed}")

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


@dataclass(frozen=True)
class Stored:
    """A result and where it lies: predictions and history are read from there when they are asked for."""

    result: Result
    folder: RunFolder


def load_stored(path: Path) -> Stored:
    """The run of one ``result.json``. Raises as :func:`load_result` does."""
    return Stored(load_result(path), RunFolder(path.parent))


@paused_gc()
def load_all(paths: Iterable[Path]) -> list[Stored]:
    """The runs of many ``result.json``. Raises as :func:`load_result` does."""
    return [load_stored(path) for path in paths]


def save_result(path: Path, result: Result) -> None:
    """Write `result` as indented JSON, whole or not at all."""
    text = json.dumps(result.model_dump(mode="json"), indent=1, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")


def load_result(path: Path) -> Result:
    """Read one ``result.json``. Raises :class:`ResultError` for a damaged file or a newer schema."""
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from problem
    with contextlib.suppress(ValidationError):
        return Result.model_validate_json(text)  # three times as fast as by way of a dictionary
    try:  # an older schema, or something to explain
        content = json.loads(text, parse_constant=_not_finite)
    except ValueError as problem:
        raise ResultError(f"{path}: not valid JSON ({problem}); the file was damaged or edited") from problem
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResultError(f"{path}: has schema version {version}, this zoo reads up to {SCHEMA_VERSION}; upgrade zoo")
    try:
        return Result.model_validate(_upgraded(content) if version == 1 else content)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ResultError(
            f"{path}: {key}: {first['msg'].removeprefix('Value error, ').lower()}; the file was damaged or edited"
        ) from problem


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 as 2: what it did not measure is null. Anything else that is missing stays missing."""
    content = content | {"schema_version": 2, "train": None, "epochs_to_90_percent": None}
    content |= {
        part: content[part] | dict.fromkeys(names, value)
        for part, names, value in (
            ("model", ("activation_bytes",), None),
            ("settings", ("deterministic",), False),
            ("test", ("top5_accuracy", "brier"), None),
            ("holdout", ("top5_accuracy", "brier"), None),
        )
        if isinstance(content.get(part), dict)
    }
    return content


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


def save_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write the epochs as CSV; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [item.name for item in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomic(path, text.getvalue().encode())


def load_history(path: Path) -> list[EpochRow]:
    """Read what :func:`save_history` wrote. Raises :class:`ResultError` for a missing or damaged file."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != [item.name for item in fields(EpochRow)]:
                raise ValueError
            return [
                EpochRow(
                    epoch=int(row.pop("epoch")),
                    eval_split=row.pop("eval_split") or None,
                    **{name: number(text) for name, text in row.items()},
                )
                for row in reader
            ]
    except (OSError, ValueError, TypeError) as problem:
        reason = getattr(problem, "strerror", None) or "damaged or edited"
        raise ResultError(f"{path}: the history cannot be read ({reason})") from problem


def save_predictions(path: Path, labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> None:
    """Write per-image predictions, (N,) each, in the order of the test split."""
    arrays = {
        "label": labels.astype(np.int16),
        "predicted": predicted.astype(np.int16),
        "confidence": confidence.astype(np.float32),
    }
    write_atomic(path, lambda file: np.savez_compressed(file, **arrays))


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    """What :func:`save_predictions` wrote: ``label``, ``predicted``, ``confidence``. Raises :class:`ResultError`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("label", "predicted", "confidence")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        reason = getattr(problem, "strerror", None) or "damaged or edited"
        raise ResultError(f"{path}: the predictions cannot be read ({reason})") from problem
