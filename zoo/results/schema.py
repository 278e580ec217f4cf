"""The schema of ``result.json``, which :mod:`zoo.results.folder` reads and writes. Missing is null, never 0."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import (
    AliasChoices,
    AliasGenerator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    WrapValidator,
    field_validator,
    model_validator,
)

from zoo.recipes.schema import Transforms
from zoo.registry.entries import Layout
from zoo.results import fields
from zoo.results.dataset_part import DatasetPart
from zoo.results.disturbed import QUARTILED, disturbed
from zoo.results.metrics import MATRIX_CLASSES, Metrics
from zoo.results.recipe_part import Part, RecipePart
from zoo.results.shared import Shared
from zoo.utils.stats import Range, quartiles

# 2 added train, epochs to 90 %, top5_accuracy, brier, activation_bytes and deterministic; 3 renamed what is here.
SCHEMA_VERSION: Final = 3
FORMER_NAMES = {
    "train_loss": "running_train_loss",
    "train_accuracy": "running_train_accuracy",
    "epochs_to_90_percent": "epochs_to_90_percent_of_final",
}


def present_name(name: str) -> str:
    """The name that a metric in a file, which may be older than schema 3, has today."""
    return FORMER_NAMES.get(name, name)


def _names_in_files(name: str) -> str | AliasChoices:
    former = [former for former, present in FORMER_NAMES.items() if present == name]
    return AliasChoices(name, *former) if former else name


class ModelPart(Part):
    """`definition` is :func:`zoo.registry.fingerprint.definition`; `macs` are of one image's forward pass: FLOPs / 2.

    `layout` is the memory layout that the registry asks for; older results lack it, the clock chose theirs.
    `activation_bytes` is what autograd keeps of one image from forward to backward, in the run's precision.
    `image_size` is (H, W) of an image as the model got it; older results lack it.
    `batch_dependent` is None where an image's prediction does not depend on its batch, else the size of the batches
    that the metrics were measured in.
    `replaces` has the package of each part that is in place of a built-in one, by part (``norm bn``).
    `notes` says what was done to stem, norms and weights as the model was built (:mod:`zoo.builder.notes`).
    """

    name: fields.Text
    label: fields.Label
    norm: fields.Text | None
    layout: Layout | None = None
    definition: fields.Definition
    parameters: fields.Whole
    trainable_parameters: fields.Whole
    macs: fields.Whole
    activation_bytes: fields.Whole | None
    image_size: tuple[fields.Side, fields.Side] | None = None
    batch_dependent: fields.Count | None = None
    replaces: dict[fields.Text, fields.Text] = Field(default_factory=dict)
    notes: Annotated[list[fields.Text], FailFast()] = Field(default_factory=list)


class SelectionPart(Part):
    """Which epoch's weights these are, and what chose them: ``test`` means that the test set did."""

    split: Literal["holdout", "test"]
    rule: Literal["best", "last"]
    metric: Literal["accuracy", "loss"]
    epoch: fields.Count | None


class SpeedPart(Part):
    """Images per second and seconds; docs/metrics.md says how each is measured.

    `window_rates` are the speeds of training's windows. Of inference and latency, the quartiles of their repetitions
    are kept; older results lack them.
    `runs_at_a_time`: how many runs of a command shared the machine; None where it was one.
    """

    train_images_per_second: fields.Speed | None
    window_rates: Annotated[list[fields.Seconds], FailFast()]
    inference_images_per_second: fields.Speed | None
    inference_batch_size: fields.Count | None
    latency_p50: fields.Speed | None
    latency_p90: fields.Speed | None
    latency_p99: fields.Speed | None
    inference_quartiles: fields.Span | None = None
    latency_quartiles: fields.Span | None = None
    peak_memory_bytes: fields.Whole | None
    runs_at_a_time: fields.Count | None = None

    @functools.cached_property
    def quartiles(self) -> dict[str, Range]:
        """The quartiles of each median that has them, by its name here."""
        spans = (quartiles(self.window_rates), self.inference_quartiles, self.latency_quartiles)
        return {name: span for name, span in zip(QUARTILED, spans, strict=True) if span is not None}

    @functools.cached_property
    def disturbed(self) -> list[str]:
        """The names of the speeds that something disturbed; see :func:`zoo.results.disturbed.disturbed`."""
        beside = QUARTILED if self.runs_at_a_time else ()
        return disturbed(self.quartiles, lambda name: getattr(self, name, None), beside)


class SettingsPart(Part):
    """What cannot change accuracy, beyond the last bits: recorded beside the recipe.

    `auto_threads`: whether what was free on the machine chose the number of threads, which is in the environment.
    """

    device: fields.Text
    layout: Layout
    compiled: fields.Flag
    executor: Literal["batched", "albumentations"]
    workers: fields.Whole
    deterministic: fields.Flag
    auto_threads: fields.Flag = False


def hardware(environment: Mapping[str, fields.Scalar]) -> str:
    """The GPU, or the processor with its instruction set, cores and threads, in words; and how many processes."""
    kind = f" ({environment['instructions']})" if environment.get("instructions") else ""  # results of old do not tell
    machine = environment.get("gpu") or (
        f"{environment.get('cpu')}{kind}, {environment.get('cores')} cores, {environment.get('threads')} threads"
    )
    return str(machine) + (f", {environment['processes']} processes" if environment.get("processes") else "")


class Caveats(NamedTuple):
    """What marks an accuracy or is noted of it: the split that chose the weights, of :class:`ModelPart` its
    `batch_dependent` and the items of `replaces`, the notes on what is `unusual` about the dataset, and the numbers of
    threads that what was free chose.
    """

    selection: str
    batch_dependent: int | None
    replaces: tuple[tuple[str, str], ...] = ()
    unusual: tuple[str, ...] = ()
    auto_threads: tuple[int, ...] = ()


_FORGOTTEN: list[float] = []
_NAMES: set[str] = set()


class BaseResult(Part):
    """What a finished and a diverged run have in common; a metric that was not measured is null.

    `running_train_loss` and `running_train_accuracy` are over the last epoch's augmented batches, as they went by;
    `train` is of unaugmented training images (as many as the test set has, drawn by the recipe) under the selected
    weights.
    `epochs_to_90_percent_of_final`: the first epoch whose accuracy on the selection split is 90 % of the last epoch's.
    `environment` is that of the last session; it has ``moved_after``, the last epoch of a session with other hardware
    or software or another state of zoo's source, where there was one.
    """

    model_config = ConfigDict(alias_generator=AliasGenerator(validation_alias=_names_in_files))

    schema_version: Literal[2, 3] = 3
    status: Literal["finished", "diverged"]
    diverged_epoch: fields.Count | None
    diverged_step: fields.Count | None
    seed: fields.Seed
    model: Annotated[ModelPart, WrapValidator(Shared())]
    recipe: Annotated[RecipePart, WrapValidator(Shared())]
    dataset: Annotated[DatasetPart, WrapValidator(Shared())]
    selection: Annotated[SelectionPart, WrapValidator(Shared())]
    test: Metrics | None
    holdout: Metrics | None
    train: Metrics | None
    running_train_loss: fields.Loss | None
    running_train_accuracy: fields.Share | None
    epochs_trained: fields.Whole
    epochs_to_90_percent_of_final: fields.Count | None
    speed: SpeedPart
    settings: Annotated[SettingsPart, WrapValidator(Shared())]
    environment: Annotated[dict[fields.Text, fields.Scalar], WrapValidator(Shared())]
    git: Annotated[fields.Git | None, WrapValidator(Shared())]
    started: fields.Text
    wall_seconds: fields.Seconds
    resumes: fields.Whole

    @field_validator("environment")
    @classmethod
    def _moved_at_an_epoch(cls, environment: dict[str, fields.Scalar]) -> dict[str, fields.Scalar]:
        if not isinstance(environment.get("moved_after", 0), int):
            raise ValueError("moved_after: is no epoch")
        return environment

    @model_validator(mode="after")
    def _of_the_same_classes(self) -> BaseResult:
        for part in (self.test, self.holdout, self.train):
            if part and len(part.per_class_accuracy) != len(self.dataset.classes):
                count = len(part.per_class_accuracy)
                raise ValueError(f"metrics of {count} classes, but the dataset has other classes")
        return self

    @model_validator(mode="after")
    def _has_its_normalization(self) -> BaseResult:
        if self.recipe.typed.augment.computes_normalization and self.dataset.normalization is None:
            raise ValueError("dataset.normalization: null, but the recipe computes it")
        return self

    def transforms(self, phase: Literal["train", "eval"]) -> Transforms:
        """What was done to an image in that phase; :mod:`zoo.data.augment.spec` reads it."""
        computed = self.dataset.normalization
        return self.recipe.typed.augment.steps(phase, (computed.mean, computed.std) if computed else None)

    def thin(self, matrix: bool = False) -> None:
        """Forget what no table shows, the lists by class and by window, once what tables make of them is there.

        With `matrix` the test set keeps its lists by class, if the classes are few enough for a matrix.
        """
        if self.test:
            _ = self.test.balance
        _ = self.speed.quartiles
        vars(self.speed).update(window_rates=_FORGOTTEN)
        splits = [split for split in (self.test, self.holdout, self.train) if split]
        few = len(self.dataset.classes) <= MATRIX_CLASSES
        for split in splits[1:] if matrix and few else splits:  # the first is the test set's
            vars(split).update(confusion=_FORGOTTEN, per_class_accuracy=_FORGOTTEN)
        for part in (self, self.speed, *splits):  # pydantic's sets of names are half of what a run takes in memory
            object.__setattr__(part, "__pydantic_fields_set__", _NAMES)

    @property
    def caveats(self) -> Caveats:
        """What marks the run's accuracies."""
        replaces = tuple(self.model.replaces.items())
        notes = tuple(self.dataset.notes)
        return Caveats(self.selection.split, self.model.batch_dependent, replaces, notes, self._auto_threads)

    @property
    def _auto_threads(self) -> tuple[int, ...]:
        threads = self.environment.get("threads")
        return (threads,) if self.settings.auto_threads and isinstance(threads, int) else ()

    @property
    def commit(self) -> str | None:
        """Of zoo's code; None where it was installed from a wheel."""
        return self.git["commit"] if self.git else None

    @property
    def uncommitted(self) -> bool:
        """Whether zoo's code had changes that are in no commit."""
        return bool(self.git and self.git["dirty"])

    @property
    def moved_after(self) -> int | None:
        """The last epoch that was trained with other hardware, software or code; None where there is none."""
        epoch = self.environment.get("moved_after")
        return epoch if isinstance(epoch, int) else None

    @property
    def machine(self) -> str:
        """The hardware, the versions of torch, CUDA and Python, and how memory is allocated, in words."""
        environment = self.environment
        cuda = f" with CUDA {environment['cuda']}" if environment.get("cuda") else ""
        malloc = f", {environment['malloc']}" if environment.get("malloc") else ""
        python = f"Python {environment.get('python')}"
        return f"{hardware(environment)}; torch {environment.get('torch')}{cuda}, {python}{malloc}"


class Finished(BaseResult):
    """A run that was trained to its end and tested. `train` is null in results of schema 1."""

    status: Literal["finished"]
    diverged_epoch: None
    diverged_step: None
    test: Metrics


class Diverged(BaseResult):
    """A run whose loss or logits became infinite or NaN, in that step of that epoch, both from 1. It has no metrics."""

    status: Literal["diverged"]
    diverged_epoch: fields.Count
    diverged_step: fields.Count
    test: None
    holdout: None
    train: None
    epochs_to_90_percent_of_final: None


def batch_dependence(results: Iterable[BaseResult]) -> int | None:
    """The largest batch that predictions of any of `results` depend on; None where none does."""
    return max((size for result in results if (size := result.model.batch_dependent) is not None), default=None)


Result = Annotated[Finished | Diverged, Field(discriminator="status")]  # the content of ``result.json``
RESULT: TypeAdapter[Result] = TypeAdapter(Result)
