"""The training recipe: one frozen model, one fingerprint. :mod:`zoo.recipes.load` reads it from YAML.

Everything that can change accuracy is in the recipe and so in its fingerprint; what cannot (device, workers, compile,
memory layout) is recorded beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from zoo.recipes.schema import (
    SGD,
    AdamW,
    Augment,
    Constant,
    Cosine,
    Count,
    Ema,
    ImageSize,
    Lookahead,
    Loss,
    Muon,
    OneCycle,
    Plateau,
    Positive,
    Section,
    Selection,
    Shift,
    Split,
    Step,
    Switch,
    Tuned,
)
from zoo.recipes.tta import TestTimeAugmentation

# Part of every fingerprint: raised when the harness itself changes what a recipe means (order, sampling, loss).
HARNESS_VERSION = 1
LOOKAHEAD_VERSION = 2  # of recipes with `lookahead`: since then it is the slow weights that are evaluated


class Named(Section):
    """What of a recipe is outside the fingerprint. `dataset` is the one where none is asked for."""

    name: str
    description: str
    dataset: str


class Content(Section):
    """What of a recipe can change accuracy."""

    split: Split
    augment: Augment
    epochs: Annotated[Count, Field(le=1_000_000)]
    batch_size: Count
    drop_last: bool
    optimizer: Annotated[SGD | AdamW | Muon, Field(discriminator="name")]
    schedule: Annotated[Constant | Cosine | OneCycle | Step | Plateau, Field(discriminator="name")]
    loss: Loss
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    selection: Selection
    ema: Ema | None = None
    lookahead: Lookahead | None = None
    clip_grad_norm: Positive | None = None
    mirror_evaluation: Switch | None = None
    shifted_evaluation: Shift | None = None  # pixels
    image_size: ImageSize | None = None  # to which images are resized as they are decoded
    other_evaluation_size: Switch | None = None  # whether training and evaluation may be at different sizes
    tuned: Tuned | None = None


class StoredContent(Content):
    """The shape of :meth:`zoo.recipes.recipe.Recipe.canonical` in a stored run.

    An older zoo may have had more keys, and other rules of what fits together.
    """

    model_config = ConfigDict(extra="allow")

    harness: Count

    @model_validator(mode="after")
    def _has_the_tuned_values(self) -> StoredContent:
        content = self.model_dump()
        for key in self.tuned.over if self.tuned else ():
            try:
                float(_get(content, key))
            except (KeyError, TypeError, ValueError):
                raise ValueError(f"tuned.over: there is no number {key!r} in this recipe") from None
        return self


class Recipe(Content, Named):
    """A whole recipe."""

    @model_validator(mode="after")
    def _coherent(self) -> Recipe:
        reads_holdout = self.selection.rule == "best" or self.schedule.name == "plateau"
        if self.selection.split == "holdout" and self.split.holdout == 0 and reads_holdout:
            raise ValueError(
                "selection.split is holdout but split.holdout is 0; hold images out or select by rule 'last'"
            )
        if getattr(self.schedule, "warmup_epochs", 0) > self.epochs:
            raise ValueError(f"schedule.warmup_epochs is more than the {self.epochs} epochs")
        if self.schedule.name == "one_cycle" and self.schedule.peak_epoch >= self.epochs:
            raise ValueError(f"schedule.peak_epoch must come before the last of the {self.epochs} epochs")
        if isinstance(self.optimizer, SGD | Muon) and self.optimizer.nesterov and self.optimizer.momentum == 0:
            raise ValueError("optimizer.nesterov needs momentum above 0")
        if self.ema is not None and self.lookahead is not None:
            raise ValueError("ema and lookahead both average the weights; set one of them to null")
        if self.tuned is not None:
            if self.precision == "auto":
                raise ValueError("precision: a tuned recipe has fp32, bf16 or fp16, as its trials had")
            if fingerprint_of(_with_own_values(self.canonical())) != self.tuned.base:
                raise ValueError(
                    "tuned: more than the tuned values was changed since; set tuned=null to make it a plain recipe"
                )
            for key, span in self.tuned.over.items():
                if not span.low <= (value := _get(self.canonical(), key)) <= span.high:
                    raise ValueError(
                        f"{key}: {value:g} is outside {span.low:g} to {span.high:g}, where it was looked for; set "
                        "tuned=null to make it a plain recipe"
                    )
        return self

    def with_precision(self, precision: str) -> Recipe:
        """The recipe with ``auto`` resolved for one machine, so that the fingerprint says what was really run."""
        return self.model_copy(update={"precision": precision}) if self.precision == "auto" else self

    def canonical(self) -> dict[str, Any]:
        """All that can change accuracy, as plain data. What is off is left out, so new options keep old prints."""
        content = self.model_dump(exclude={"name", "description", "dataset"}, exclude_none=True)
        version = HARNESS_VERSION if self.lookahead is None else LOOKAHEAD_VERSION
        plain: dict[str, Any] = _canonical({"harness": version, **content})
        return plain

    @property
    def tta(self) -> TestTimeAugmentation:
        """The test-time augmentation of every evaluation."""
        return TestTimeAugmentation.of(self.canonical())

    @property
    def fingerprint(self) -> str:
        """:func:`fingerprint_of` :meth:`canonical`."""
        return fingerprint_of(self.canonical())

    @property
    def slug(self) -> str:
        """:func:`slug_of` its name and fingerprint."""
        return slug_of(self.name, self.fingerprint)


def slug_of(name: str, fingerprint: str) -> str:
    """``<name>-<first 8 digits of the fingerprint>``, as folders and tables call a recipe."""
    return f"{name}-{fingerprint[:8]}"


def fingerprint_of(content: Mapping[str, object]) -> str:
    """SHA-256 of `content`, a recipe's canonical one or other plain data, as JSON with sorted keys, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Replace the value at the dotted `key` of a recipe as plain data. Raises :class:`KeyError` where there is none."""
    *parents, last = key.split(".")
    section: Any = content
    for part in parents:
        section = section.get(part) if isinstance(section, dict) else None
    if not isinstance(section, dict) or last not in section:
        raise KeyError(key)
    section[last] = value


def _get(content: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        content = content[part]
    return content


def _with_own_values(content: dict[str, Any]) -> dict[str, Any]:
    """The canonical content of the recipe that a tuned one was tuned from. Changes `content`."""
    for key, span in content.pop("tuned")["over"].items():
        try:
            put(content, key, span["own"])
        except KeyError as problem:
            raise ValueError(f"tuned.over: there is no {key!r} in this recipe") from problem
    return content


def _canonical(value: Any) -> Any:
    """Tuples to lists and whole floats to integers, so that 5 and 5.0 in YAML make one fingerprint."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
