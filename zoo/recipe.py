"""The training recipe: one YAML file, one frozen model, one fingerprint.

Everything that can change accuracy is in the recipe and so in its fingerprint; what cannot (device, workers, compile,
memory layout) is recorded beside it. No field has a default but "off" (null): a recipe file states what it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from zoo import yamlfile
from zoo.errors import RecipeError, did_you_mean, unknown
from zoo.listing import recipe_files, recipe_names

# Part of every fingerprint: raised when the harness itself changes what a recipe means (order, sampling, loss).
HARNESS_VERSION = 1


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("expected a number, not true or false")
    return value


Real = Annotated[float, BeforeValidator(_no_bool)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Positive = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[Real, Field(ge=0, lt=1)]
OpenFraction = Annotated[Real, Field(gt=0, lt=1)]
Count = Annotated[Whole, Field(gt=0)]
Mirror = Annotated[Literal[True] | None, BeforeValidator(lambda value: None if value is False else value)]
Transforms = list[dict[str, dict[str, Any]]]


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

    @model_validator(mode="after")
    def _one_key_each(self) -> Augment:
        for name in ("train", "eval"):
            for item in getattr(self, name):
                if len(item) != 1:
                    raise ValueError(f"{name}: each item is one transform and its arguments, found {sorted(item)}")
                try:
                    json.dumps(item, allow_nan=False)
                except (TypeError, ValueError) as problem:
                    raise ValueError(
                        f"{name}: {next(iter(item))}: arguments must be finite numbers or text"
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


class Recipe(Section):
    """A whole recipe. `name`, `description` and `dataset` (where none is asked for) are outside the fingerprint."""

    name: str
    description: str
    dataset: str
    split: Split
    augment: Augment
    epochs: Count
    batch_size: Count
    drop_last: bool
    optimizer: Annotated[SGD | AdamW, Field(discriminator="name")]
    schedule: Annotated[Constant | Cosine | OneCycle | Step | Plateau, Field(discriminator="name")]
    loss: Loss
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    selection: Selection
    ema: Ema | None = None
    lookahead: Lookahead | None = None
    clip_grad_norm: Positive | None = None
    mirror_evaluation: Mirror | None = None  # logits are the mean over an image and its mirror image
    tuned: Tuned | None = None

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
        if self.optimizer.name == "sgd" and self.optimizer.nesterov and self.optimizer.momentum == 0:
            raise ValueError("optimizer.nesterov needs momentum above 0")
        if self.ema is not None and self.lookahead is not None:
            raise ValueError("ema and lookahead both average the weights; set one of them to null")
        if self.tuned is not None:
            if self.precision == "auto":
                raise ValueError("precision: a tuned recipe says fp32, bf16 or fp16, as its trials were run")
            if fingerprint_of(_with_own_values(self.canonical())) != self.tuned.base:
                raise ValueError(
                    "tuned: more than the tuned values was changed since; set tuned=null to make it a plain recipe"
                )
        return self

    def with_precision(self, precision: str) -> Recipe:
        """The recipe with ``auto`` settled for one machine, so that the fingerprint says what was really run."""
        return self.model_copy(update={"precision": precision}) if self.precision == "auto" else self

    def canonical(self) -> dict[str, Any]:
        """All that can change accuracy, as plain data. What is off is left out, so new options keep old prints."""
        content = self.model_dump(exclude={"name", "description", "dataset"}, exclude_none=True)
        return _canonical({"harness": HARNESS_VERSION, **content})

    @property
    def fingerprint(self) -> str:
        """:func:`fingerprint_of` :meth:`canonical`."""
        return fingerprint_of(self.canonical())

    @property
    def slug(self) -> str:
        """``<name>-<first 8 digits of the fingerprint>``, the name of the folder of its runs."""
        return f"{self.name}-{self.fingerprint[:8]}"


def fingerprint_of(content: dict[str, Any]) -> str:
    """SHA-256 of a recipe's canonical `content` as JSON with sorted keys, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_own_values(content: dict[str, Any]) -> dict[str, Any]:
    """The canonical content of the recipe that a tuned one was tuned from. Changes `content`."""
    for key, looked in content.pop("tuned")["over"].items():
        *parents, last = key.split(".")
        section = content
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise ValueError(f"tuned.over: there is no {key!r} in this recipe")
        section[last] = looked["own"]
    return content


def with_values(recipe: Recipe, values: Mapping[str, Any], where: str) -> Recipe:
    """`recipe` with other `values` (dotted key to value), checked as a file's are.

    Raises :class:`RecipeError`, which begins with `where`.
    """
    content = recipe.model_dump()
    for key, value in values.items():
        *parents, last = key.split(".")
        section = content
        for part in parents:
            section = section[part]
        section[last] = value
    try:
        return Recipe.model_validate(content)
    except ValidationError as problem:
        raise RecipeError(_one_line(where, problem)) from problem


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe called `name`, built in or of a plugin, or the file when it is a path to one.

    `overrides` are ``key.key=value`` and change it.

    Raises :class:`RecipeError` (file, key, what was expected) or :class:`~zoo.errors.UnknownNameError` (nearest names).
    """
    path, content = _read(name, ())
    where = str(path)
    for override in overrides:
        where = f"{path} with --set {override}"
        _override(content, override)
    try:
        return Recipe(name=path.stem, **content)
    except ValidationError as problem:
        raise RecipeError(_one_line(where, problem)) from problem


def _read(name: str, seen: tuple[Path, ...]) -> tuple[Path, dict[str, Any]]:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise RecipeError(f"recipe file {name} does not exist; recipes by name: {', '.join(recipe_names())}")
    elif origin := (files := recipe_files()).get(name):
        path = origin.path
    else:
        hint = f"there are: {', '.join(sorted(files))}; a file is given by its path, ending in .yaml"
        where = ", ".join(sorted({str(origin.path.parent) for origin in files.values()}))
        raise unknown("recipe", name, files, where, hint)
    if path.resolve() in seen:
        raise RecipeError(f"{path}: 'extends' goes round in a circle")
    content = yamlfile.read(path, RecipeError).plain()
    if "name" in content:
        raise RecipeError(f"{path}: a recipe's name is its file's name; remove the key 'name'")
    base = content.pop("extends", None)
    if base is None:
        return path, content
    beside = path.parent / str(base)
    _, merged = _read(str(beside) if str(base).endswith((".yaml", ".yml")) else str(base), (*seen, path.resolve()))
    return path, _merge(merged, content)


def _merge(base: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`new` over `base`. A section that names another kind (``schedule.name``) replaces the whole section."""
    merged = dict(base)
    for key, value in new.items():
        old = base.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        same_kind = both and value.get("name", old.get("name")) == old.get("name")
        merged[key] = _merge(old, value) if same_kind else value
    return merged


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override}: expected key=value, as in --set optimizer.lr=0.1")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as problem:
        raise RecipeError(f"--set {override}: the value is not valid YAML; quote it if it is text") from problem
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text; JSON and people read a number
        with contextlib.suppress(ValueError):
            value = float(value)
    *parents, last = key.split(".")
    target, fields = content, Recipe.model_fields
    for depth, part in enumerate(parents):
        _known(part, [*target, *fields] if depth == 0 else list(target), override)
        if not isinstance(target.get(part), dict):
            if target.get(part) is not None or part not in ("ema", "lookahead"):
                raise RecipeError(
                    f"--set {override}: {'.'.join(parents[: depth + 1])} is not a section; set it as a whole"
                )
            target[part] = {}
        target = target[part]
    if not parents:
        _known(last, [name for name in fields if name != "name"], override)
    target[last] = value


def _known(key: str, choices: list[str], override: str) -> None:
    if key not in choices:
        near = did_you_mean(key, choices) or f"; known: {', '.join(dict.fromkeys(choices))}"
        raise RecipeError(f"--set {override}: unknown key {key!r}{near}")


def _one_line(where: str, problem: ValidationError) -> str:
    """The first error of `problem`: where, key, what was expected, what was found, the nearest key."""
    first = problem.errors(include_url=False)[0]
    # A union's tag stands in the location as a part of its own; it is no key of the file.
    tags = {"sgd", "adamw", "constant", "cosine", "one_cycle", "step", "plateau"}
    parts = [str(part) for part in first["loc"] if part not in tags]
    key = ".".join(parts)
    if first["type"] == "extra_forbidden":
        siblings = _siblings(parts[:-1], problem.errors()[0]["loc"])
        return f"{where}: unknown key {key!r}{did_you_mean(parts[-1], siblings) or '; known: ' + ', '.join(siblings)}"
    if first["type"] == "missing":
        return f"{where}: {key} is missing"
    message = first["msg"].removeprefix("Value error, ")
    found = f", found {first['input']!r}" if key and not isinstance(first["input"], dict) else ""
    return f"{where}: {key + ': ' if key else ''}{message[0].lower() + message[1:]}{found}"


def _siblings(parents: list[str], loc: tuple[Any, ...]) -> list[str]:
    """The keys that the section at `parents` has; `loc` still holds the tag that chose among a union's members."""
    if not parents:
        return [name for name in Recipe.model_fields if name != "name"]
    plain: dict[str, type[Section]] = {
        "split": Split,
        "augment": Augment,
        "loss": Loss,
        "ema": Ema,
        "lookahead": Lookahead,
        "selection": Selection,
        "pruner": Median,
        "tuned": Tuned,
    }
    tagged = {"sgd": SGD, "adamw": AdamW, "constant": Constant, "cosine": Cosine, "one_cycle": OneCycle}
    sections = plain | tagged | {"step": Step, "plateau": Plateau}
    cls = next((sections[part] for part in reversed(loc[:-1]) if part in sections), None)
    return list(cls.model_fields) if cls else []


def _canonical(value: Any) -> Any:
    """Tuples to lists and whole floats to integers, so that 5 and 5.0 in YAML make one fingerprint."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
