"""The sections of a recipe: what each may hold, checked when it is read and frozen from then on.

No field has a default but "off" (null): a recipe file states what it does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("expected a number, not true or false")
    return value


def _two_sides(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("expected a number of pixels, or [height, width]")
    return tuple(value)


Real = Annotated[float, BeforeValidator(_no_bool)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Positive = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[Real, Field(ge=0, lt=1)]
OpenFraction = Annotated[Real, Field(gt=0, lt=1)]
Count = Annotated[Whole, Field(gt=0)]
Switch = Annotated[Literal[True] | None, BeforeValidator(lambda value: None if value is False else value)]
Shift = Annotated[Whole, Field(gt=0, le=8)]
Side = Annotated[Whole, Field(gt=0, le=4096)]
ImageSize = Annotated[tuple[Side, Side], BeforeValidator(_two_sides)]  # (height, width)
Transforms = list[dict[str, dict[str, Any]]]
FROM_TRAIN = {"Normalize": {"from": "train"}}  # with constants that are computed from the images trained on


class Section(BaseModel):
    """Frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Split(Section):
    """`holdout` training images are kept for choices (stratified, drawn with `seed`); `train` limits the rest."""

    holdout: Annotated[Whole, Field(ge=0)]
    seed: Whole
    train: Count | None = None


class Augment(Section):
    """Lists of one-key mappings, albumentations' class name to its arguments, applied in order."""

    train: Transforms
    eval: Transforms

    @property
    def computes_normalization(self) -> bool:
        """Whether one of them has ``Normalize: {from: train}``."""
        return FROM_TRAIN in self.train + self.eval

    def steps(self, phase: str, constants: tuple[Sequence[float], Sequence[float]] | None) -> Transforms:
        """The list ``train`` or ``eval`` with `constants`, if any, in place of those of :data:`FROM_TRAIN`.

        They are mean and std, one for each channel of values from 0 to 1.
        """
        steps: Transforms = getattr(self, phase)
        if constants is None:
            return steps
        mean, std = map(list, constants)
        return [{"Normalize": {"mean": mean, "std": std}} if step == FROM_TRAIN else step for step in steps]

    @model_validator(mode="after")
    def _one_key_each(self) -> Augment:
        for name in ("train", "eval"):
            for step in getattr(self, name):
                if len(step) != 1:
                    raise ValueError(f"{name}: each item is one transform and its arguments, found {sorted(step)}")
                if "from" in step.get("Normalize", {}) and step != FROM_TRAIN:
                    raise ValueError(f"{name}: `from` of Normalize is train, without other arguments")
                try:
                    json.dumps(step, allow_nan=False)
                except (TypeError, ValueError) as problem:
                    raise ValueError(
                        f"{name}: {next(iter(step))}: arguments must be finite numbers or text"
                    ) from problem
        return self


class SGD(Section):
    """`lr` is the peak learning rate. `decay_norm_and_bias`: whether weight decay reaches 1-d parameters."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Fraction
    nesterov: bool
    weight_decay: NonNegative
    decay_norm_and_bias: bool


class AdamW(Section):
    """Decoupled weight decay (Loshchilov & Hutter, 2019)."""

    name: Literal["adamw"]
    lr: Positive
    betas: tuple[Fraction, Fraction]
    weight_decay: NonNegative
    decay_norm_and_bias: bool


class Muon(Section):
    """Orthogonalised momentum (Jordan et al., 2024), in bf16 whatever the precision; AdamW for what it does not suit.

    timm's rule: it suits matrices and convolutions, but for depthwise ones, those with a side (flattened) below 4, and
    those over 128 times as long as wide. `lr` is the peak for them, `adamw_lr_scale` times it for the rest; `betas` are
    AdamW's, which takes Nesterov momentum where `nesterov` says so.
    """

    name: Literal["muon"]
    lr: Positive
    momentum: Fraction
    nesterov: bool
    adamw_lr_scale: Positive
    betas: tuple[Fraction, Fraction]
    weight_decay: NonNegative
    decay_norm_and_bias: bool


class Constant(Section):
    """Linear warm-up over `warmup_epochs`, then the peak rate."""

    name: Literal["constant"]
    warmup_epochs: NonNegative


class Cosine(Section):
    """Linear warm-up, then a half cosine from the peak to `final_factor` times the peak, step by step."""

    name: Literal["cosine"]
    warmup_epochs: NonNegative
    final_factor: Fraction


class OneCycle(Section):
    """Linear from `initial_factor` x peak up to the peak at `peak_epoch`, then linear down to `final_factor` x peak."""

    name: Literal["one_cycle"]
    peak_epoch: Positive
    initial_factor: Fraction
    final_factor: Fraction


class Step(Section):
    """Linear warm-up, then the peak times `factor` for every passed entry of `milestones` (epochs)."""

    name: Literal["step"]
    warmup_epochs: NonNegative
    milestones: list[Positive]
    factor: OpenFraction


class Plateau(Section):
    """torch's ReduceLROnPlateau on the loss of the selection split, after each epoch."""

    name: Literal["plateau"]
    warmup_epochs: NonNegative
    factor: OpenFraction
    patience: Annotated[Whole, Field(ge=0)]
    threshold: NonNegative


class Loss(Section):
    """Cross-entropy."""

    label_smoothing: Fraction


class Ema(Section):
    """Exponential moving average of the weights, updated every step; it is what is evaluated and stored."""

    decay: OpenFraction


class Lookahead(Section):
    """Slow weights that the trained ones jump back to every `every` steps: :class:`zoo.engine.average.Lookahead`."""

    every: Count
    decay: OpenFraction
    power: NonNegative


class Selection(Section):
    """Which epoch's weights are the run's: the `best` by `metric` on `split`, or the `last`."""

    split: Literal["holdout", "test"]
    rule: Literal["best", "last"]
    metric: Literal["accuracy", "loss"]


class Range(Section):
    """Where a value was looked for: `low` to `high`, evenly or by its logarithm; `own` is the base recipe's."""

    low: Real
    high: Real
    log: bool
    own: Real


class Median(Section):
    """A trial stops where its best epoch so far is below the median of the finished trials at that epoch.

    Not in the first `warmup_epochs` epochs.
    """

    name: Literal["median"]
    warmup_epochs: Annotated[Whole, Field(ge=0)]


class Tuned(Section):
    """What `zoo tune` spent on the values that are under `over` (dotted key to range): the budget, and for whom.

    They are the best of `trials` trainings of `model` on the held-out images, the first of which had the values of the
    recipe whose fingerprint is `base`. The first `startup_trials` are spread evenly, and none is pruned before as many
    are finished. `seed` is of the draws and of the trials' own training.
    """

    model: str
    base: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    over: Annotated[dict[str, Range], Field(min_length=1)]
    trials: Count
    sampler: Literal["tpe"]
    startup_trials: Count
    pruner: Median | None = None
    seed: Annotated[Whole, Field(ge=0)]
