"""The transform list of a recipe: its format, its checks, and `Cutout`, which albumentations 2 no longer has.

A list holds one-key mappings in albumentations' own words, ``- RandomCrop: {height: 32, width: 32}``. Both executors
(:mod:`zoo.data.reference`, :mod:`zoo.data.batched`) build the albumentations object of every entry, so a default that
the list does not mention has one source. albumentations takes 0.6 s to import: only functions here import it.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from zoo.errors import RecipeError, unknown

BORDER_MODES = {"constant": 0, "replicate": 1, "reflect": 2, "reflect_101": 4}
"""Names accepted for ``border_mode``, with OpenCV's numbers (``BORDER_WRAP``, 3, is reached by its number only)."""


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
            hint = f"{spec.name} takes {', '.join(accepted)}"
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


def transform_class(name: str, where: str = "transforms") -> type:
    """The class behind a name: ours for ``Cutout``, else albumentations'. Raises UnknownNameError."""
    classes = _classes()
    if name not in classes:
        raise unknown("transform", name, classes, where, "the names are the classes of albumentations, and Cutout")
    return classes[name]


@cache
def albumentations() -> ModuleType:
    """The albumentations module, imported on the first call with its version check switched off: nothing calls home."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # read while it is imported, so it has to come first
    import albumentations

    return albumentations


@cache
def _classes() -> dict[str, type]:
    module = albumentations()
    found = {name: value for name, value in vars(module).items() if _is_transform(value, module.BasicTransform)}
    return {**found, "Cutout": _cutout_class()}


def _is_transform(value: object, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and "apply" in dir(value) and value.__name__[0] != "_"


def _arguments(cls: type) -> dict[str, Any]:
    """Accepted arguments and their defaults (``inspect.Parameter.empty`` where there is none)."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
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
    return tuple(value) if isinstance(value, list) else value


def _one_line(error: BaseException) -> str:
    """The first complaint of a pydantic report, without its header, its tail and its web address."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) >= 3 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return " ".join(lines)


@cache
def _cutout_class() -> type:
    module = albumentations()
    import numpy as np
    from albumentations.core.transforms_interface import BaseTransformInitSchema
    from pydantic import Field

    class Cutout(module.ImageOnlyTransform):
        """Square (or rectangular) holes whose centres are uniform over the image, clipped at the border.

        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017, with the
        argument names of albumentations 1. A centre is a whole pixel; the hole covers ``max_h_size`` rows from
        ``centre - max_h_size // 2``, and the same for columns, so near a border it is smaller. On a uint8 image
        `fill_value` is cut to whole grey levels (0.491 becomes 0); on a float image it is used as it is.

        Args:
            num_holes: holes per image, at least 1.
            max_h_size, max_w_size: height and width of a hole in pixels, at least 1.
            fill_value: one number or one per channel, on the image's own scale (0..255 for uint8).
            p: probability of applying it.
        """

        class InitSchema(BaseTransformInitSchema):
            num_holes: int = Field(ge=1)
            max_h_size: int = Field(ge=1)
            max_w_size: int = Field(ge=1)
            fill_value: tuple[float, ...] | float

        def __init__(
            self,
            num_holes: int = 8,
            max_h_size: int = 8,
            max_w_size: int = 8,
            fill_value: tuple[float, ...] | float = 0,
            p: float = 0.5,
        ):
            super().__init__(p=p)
            self.num_holes = num_holes
            self.max_h_size = max_h_size
            self.max_w_size = max_w_size
            self.fill_value = fill_value

        def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
            height, width = params["shape"][:2]
            holes = []
            for _ in range(self.num_holes):
                top = int(self.py_random.random() * height) - self.max_h_size // 2
                left = int(self.py_random.random() * width) - self.max_w_size // 2
                bottom, right = min(top + self.max_h_size, height), min(left + self.max_w_size, width)
                holes.append((max(left, 0), max(top, 0), right, bottom))
            return {"holes": np.array(holes, dtype=np.int64)}  # (num_holes, 4): x_min, y_min, x_max, y_max

        def apply(self, img: Any, holes: Any, **params: Any) -> Any:
            img = img.copy()
            fill = np.asarray(self.fill_value, dtype=np.float32)
            fill = fill.astype(img.dtype)
            for x_min, y_min, x_max, y_max in holes:
                img[y_min:y_max, x_min:x_max] = fill
            return img

    Cutout.__module__, Cutout.__qualname__ = __name__, "Cutout"
    return Cutout


def __getattr__(name: str) -> Any:
    if name == "Cutout":  # made on first use, since its base class needs albumentations
        return _cutout_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
