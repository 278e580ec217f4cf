"""The transform list of a recipe: its format and its checks.

A list holds one-key mappings in albumentations' own words, ``- RandomCrop: {height: 32, width: 32}``. Both executors
(:mod:`zoo.data.augment.reference`, :mod:`zoo.data.augment.batched`) build the albumentations object of every entry, so
a default that the list does not mention has one source.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.errors import RecipeError, unknown

BORDER_MODES = {"constant": 0, "replicate": 1, "reflect": 2, "reflect_101": 4}
"""Names accepted for ``border_mode``, with OpenCV's numbers (``BORDER_WRAP``, 3, is reached by its number only)."""
# What an argument whose name has this in it may be: pixels, but for factors. Images are made before a look at them.
_LARGEST = {"height": 4096, "width": 4096, "size": 4096, "pad": 4096, "px": 4096, "scale": 64}


@dataclass(frozen=True)
class TransformSpec:
    """One checked entry of a transform list: a class name and the keyword arguments as the recipe wrote them."""

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def parse(specs: Iterable[Mapping[str, Any] | TransformSpec | str], where: str) -> tuple[TransformSpec, ...]:
    """Checks a transform list and returns its entries in order.

    `where` names the list in messages, for instance ``recipe standard, augmentation.train``. An entry is a one-key
    mapping, a bare class name (no arguments), or an already parsed :class:`TransformSpec`.

    Raises :class:`zoo.errors.UnknownNameError` for a class or argument that does not exist (with the nearest names) and
    :class:`zoo.errors.RecipeError` for an entry of the wrong shape or a value that the class refuses. One line each.
    """
    if isinstance(specs, (str, Mapping)) or not isinstance(specs, Iterable):
        raise RecipeError(f"{where}: expected a list of transforms, got {type(specs).__name__}")
    parsed = []
    for number, entry in enumerate(specs, start=1):
        spec = _entry(entry, f"{where}, transform {number}")
        build(spec, f"{where}, transform {number}")
        parsed.append(spec)
    return tuple(parsed)


def build(spec: TransformSpec, where: str = "transforms") -> Any:
    """The albumentations transform of one entry. Raises as :func:`parse` does."""
    cls = transform_class(spec.name, where)
    accepted = _arguments(cls)
    for key in spec.kwargs:
        if key not in accepted:
            hint = f"{spec.name} takes {', '.join(accepted) or 'no arguments'}"
            raise unknown(f"argument of {spec.name}", str(key), accepted, where, hint)
    missing = [
        name for name, default in accepted.items() if default is inspect.Parameter.empty and name not in spec.kwargs
    ]
    if missing:
        raise RecipeError(f"{where}: {spec.name} needs {' and '.join(repr(name) for name in missing)}")
    kwargs = {key: _value(key, value, f"{where}: {spec.name}") for key, value in spec.kwargs.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # albumentations only warns where it then ignores a value
            return cls(**kwargs)
    except (ValueError, TypeError, UserWarning) as error:
        raise RecipeError(f"{where}: {spec.name}: {_one_line(error)}") from None


def normalization_of(spec: TransformSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std of a ``Normalize`` with constants for each channel, of values from 0 to 1; None for all else."""
    if spec.name != "Normalize" or (transform := build(spec)).normalization != "standard":
        return None
    unit = transform.max_pixel_value / 255
    mean, std = (np.broadcast_to(np.multiply(value, unit), 3).tolist() for value in (transform.mean, transform.std))
    return tuple(mean), tuple(std)


def transform_class(name: str, where: str = "transforms") -> type:
    """The class behind a name: one of :mod:`zoo.data.augment.custom`, else albumentations'. Raises UnknownNameError."""
    from zoo.data.augment.custom import CUSTOM, TRANSFORMS

    if name not in TRANSFORMS:
        hint = f"the names are the classes of albumentations, and {' and '.join(CUSTOM)}"
        raise unknown("transform", name, TRANSFORMS, where, hint)
    return TRANSFORMS[name]


def _arguments(cls: type) -> dict[str, Any]:
    """Accepted arguments and their defaults (``inspect.Parameter.empty`` where there is none)."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(cls).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in kinds}


def _entry(entry: Any, where: str) -> TransformSpec:
    if isinstance(entry, TransformSpec):
        return entry
    if isinstance(entry, str):
        return TransformSpec(entry)
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise RecipeError(f"{where}: expected one mapping such as 'HorizontalFlip: {{p: 0.5}}', got {entry!r}")
    ((name, kwargs),) = entry.items()
    if not isinstance(name, str):
        raise RecipeError(f"{where}: expected the name of a transform, got {name!r}")
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(kwargs, Mapping):
        raise RecipeError(f"{where}: the arguments of {name} must be a mapping, got {kwargs!r}")
    return TransformSpec(name, dict(kwargs))


def _value(key: str, value: Any, where: str) -> Any:
    """YAML has no tuples and no OpenCV constants; albumentations wants both."""
    if key == "border_mode" and isinstance(value, str):
        if value not in BORDER_MODES:
            raise unknown("border_mode", value, BORDER_MODES, where, f"use {', '.join(BORDER_MODES)}")
        return BORDER_MODES[value]
    limit = next((most for part, most in _LARGEST.items() if part in key), None)
    for number in value if isinstance(value, list) else [value]:
        if limit is not None and isinstance(number, int | float) and not abs(number) <= limit:
            raise RecipeError(f"{where}: {key}: {number:g} makes images that are too large; give at most {limit}")
    return tuple(value) if isinstance(value, list) else value


def _one_line(error: BaseException) -> str:
    """The first complaint of a pydantic report, without its header, its tail and its web address."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) >= 3 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return " ".join(lines)
