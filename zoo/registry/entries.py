"""The entries of one registry file, typed, each with its file and line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from zoo.errors import Option, RegistryError, Words, did_you_mean
from zoo.utils import yamlfile
from zoo.utils.yamlfile import Located

Layout = Literal["nchw", "channels_last"]  # of images and feature maps in memory
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")
# What Windows takes for a device, whatever the ending; folders and files are named after models and what they are of.
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)", re.IGNORECASE)
_BUILDER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


@dataclass(frozen=True)
class Origin:
    """Where an entry stands: the layer (``built in``, ``plugin``, ``working folder``, ...), the file and the line.

    `distribution` is the installed package that it belongs to, with its version (``zoo-norm-x 1.0``), if any. `folder`
    is searched for its builders before what is installed. Zoo's own entries and those of plugins have none.
    """

    layer: Words
    path: Path
    line: int
    distribution: str = ""
    folder: Path | None = None

    @property
    def package(self) -> str:
        """The name of the distribution."""
        return self.distribution.rpartition(" ")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f" of {self.distribution}" if self.distribution else "")


@dataclass(frozen=True)
class Entry:
    """One line of a registry file. `layout` is the memory layout that it asks for, if any.

    `arguments` has what its builder calls what zoo gives it (:data:`ARGUMENTS`), where that is another name.
    A registry sets `replaces` where a package has it in place of a built-in entry, and `rivals` where several packages
    have the name.
    """

    name: str
    origin: Origin
    builder: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    layout: Layout | None = None
    override: bool = False
    arguments: dict[str, str] = field(default_factory=dict)
    replaces: bool = False
    rivals: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class NormEntry(Entry):
    """One line under ``norms:``."""

    activation: str = "separate"
    conv: str = ""
    batch_independent: bool = False
    paper: str = ""


@dataclass(frozen=True)
class ArchitectureEntry(Entry):
    """One line under ``architectures:``."""

    paper: str = ""


@dataclass(frozen=True)
class ModelEntry(Entry):
    """One line under ``models:``: an architecture with a norm, or a builder of its own (``norm`` and all)."""

    architecture: str = ""
    norm: str = ""


AnyEntry = TypeVar("AnyEntry", bound=Entry)
SECTIONS = ("norms", "architectures", "models")
# What zoo gives to a builder of each kind, by the name that a builder has for it unless its entry gives another.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "norm": ("num_channels", "apply_act", "branch_end", "spatial_size"),
    "architecture": ("norm", "num_classes", "in_channels", "spatial_size"),
    "model": ("num_classes", "in_channels", "spatial_size"),
}
TUPLE = "tuple"  # a mapping with this key alone is a tuple in `kwargs`, which YAML has not

# Key -> the type its value must have, and its name in a message; in the order in which a message lists them.
_TYPES: dict[str, tuple[type, str]] = {
    "architecture": (str, "the name of an architecture"),
    "norm": (str, "the name of a norm"),
    "builder": (str, '"module:function"'),
    "kwargs": (dict, "a mapping of keyword arguments"),
    "arguments": (dict, "a mapping of zoo's names of arguments to the builder's"),
    "label": (str, "text"),
    "activation": (str, "'included' or 'separate'"),
    "conv": (str, '"module:function"'),
    "batch_independent": (bool, "true or false"),
    "layout": (str, "'nchw' or 'channels_last'"),
    "paper": (str, "text"),
    "override": (bool, "true or false"),
}
_CHOICES = {"activation": ("included", "separate"), "layout": ("nchw", "channels_last")}
# Keys that an author who thinks of training may write under an entry, or as a section; a recipe's own are among them.
RECIPE_KEYS = frozenset({
    "recipe", "recipes", "dataset", "split", "augment", "augmentation", "transforms", "epochs", "batch_size",
    "drop_last", "optimizer", "optimiser", "lr", "learning_rate", "momentum", "weight_decay", "schedule", "scheduler",
    "lr_scheduler", "warmup", "loss", "criterion", "label_smoothing", "ema", "lookahead", "clip_grad_norm", "precision",
    "mirror_evaluation", "shifted_evaluation", "image_size", "other_evaluation_size", "selection", "tuned",
})  # fmt: skip
_ONE_RECIPE: tuple[Words, ...] = (
    "a model cannot bring its own recipe, all models of a table share one; "
    "write a recipe file and give it to all of them, as in ",
    Option("recipe", "./mine.yaml"),
)
# `builtin: true` marks zoo's own registry, so that a source checkout's file is not taken for a second layer.
BUILTIN_MARK = "builtin"


@dataclass(frozen=True)
class RegistryFile:
    """The entries of one file by section, and whether it is zoo's own."""

    path: Path
    layer: Words
    builtin: bool
    norms: dict[str, NormEntry]
    architectures: dict[str, ArchitectureEntry]
    models: dict[str, ModelEntry]


def read_registry_file(path: Path, layer: Words, distribution: str = "") -> RegistryFile:
    """Parse and check `path`. Raises :class:`RegistryError` naming file, line, key and what was expected."""
    return registry_file(yamlfile.read(path, RegistryError), path, layer, distribution)


def registry_file(document: Located, path: Path, layer: Words, distribution: str = "") -> RegistryFile:
    """The entries of a mapping of sections that stands in `path`. Raises as :func:`read_registry_file` does."""
    builtin = False
    for section, located in document.value.items():
        where = f"{path}:{located.line}"
        if section == BUILTIN_MARK:
            if not isinstance(located.value, bool):
                raise RegistryError(f"{where}: builtin: expected true or false, found {located.plain()!r}")
            builtin = located.value
        elif section in RECIPE_KEYS:
            raise RegistryError(f"{where}: section {section!r}: ", *_ONE_RECIPE)
        elif section not in SECTIONS:
            near = did_you_mean(section, SECTIONS)
            raise RegistryError(f"{where}: unknown section {section!r}, expected norms, architectures or models{near}")
    origin = Origin(layer, path, 1, distribution, None if distribution or builtin else path.parent)
    norms = _entries("norms", NormEntry, document, origin)
    architectures = _entries("architectures", ArchitectureEntry, document, origin)
    return RegistryFile(path, layer, builtin, norms, architectures, _entries("models", ModelEntry, document, origin))


def _entries(section: str, cls: type[AnyEntry], document: Located, origin: Origin) -> dict[str, AnyEntry]:
    located = document.value.get(section)
    if located is None or located.value is None:
        return {}
    if not isinstance(located.value, dict):
        where, actual = f"{origin.path}:{located.line}", yamlfile.type_name(located.value)
        raise RegistryError(f"{where}: {section}: expected a mapping of names, found {actual}")
    return {name: _entry(section[:-1], cls, name, entry, origin) for name, entry in located.value.items()}


def _entry(kind: str, cls: type[AnyEntry], name: str, entry: Located, origin: Origin) -> AnyEntry:
    where = f"{origin.path}:{entry.line}: {kind} {name!r}"
    if not _NAME.match(name):
        raise RegistryError(f"{where}: a name is letters, digits and _ . + -, and starts with a letter or digit")
    if DEVICE.match(name) or name.endswith("."):
        raise RegistryError(f"{where}: Windows has no file or folder of this name; take another name")
    fields = entry.value
    if isinstance(fields, str):  # the one-line form, `mine: "my_norm:mine"`
        fields = {"builder": Located(fields, entry.line)}
    if not isinstance(fields, dict):
        actual = yamlfile.type_name(fields)
        raise RegistryError(f'{where}: expected "module:function" or a mapping, found {actual}')
    allowed = [key for key in _TYPES if key in cls.__dataclass_fields__]
    values: dict[str, Any] = {}
    for key, located in fields.items():
        here = f"{origin.path}:{located.line}: {kind} {name!r}"
        if key in RECIPE_KEYS:
            raise RegistryError(f"{here}: {key!r}: ", *_ONE_RECIPE)
        if key not in allowed:
            raise RegistryError(
                f"{here}: unknown key {key!r}{did_you_mean(key, allowed) or '; allowed: ' + ', '.join(allowed)}"
            )
        values[key] = _checked(key, located, here)
        if key == "arguments":
            _check_arguments(kind, values[key], here)
    if cls is ModelEntry:
        _check_sort(values, where, name)
    elif "builder" not in values:
        raise RegistryError(f"{where}: 'builder' is missing, expected \"module:function\"")
    return cls(name=name, origin=replace(origin, line=entry.line), **values)


def _check_sort(values: dict[str, Any], where: str, name: str) -> None:
    """Raise :class:`RegistryError` where a model is neither of the two sorts, or has a key of the other, unread."""
    if "builder" in values:
        if other := next((key for key in ("norm", "architecture") if key in values), None):
            advice = f"bench {name}@{values[other]}" if other == "norm" else "an architecture has a builder of its own"
            raise RegistryError(f"{where}: {other!r} is not read beside 'builder'; take it out ({advice})")
    elif not (values.get("architecture") and values.get("norm")):
        raise RegistryError(f"{where}: expected 'architecture' and 'norm', or a 'builder'")
    elif "arguments" in values:
        architecture = values["architecture"]
        raise RegistryError(
            f"{where}: 'arguments' is not read beside 'architecture'; write it in the entry of {architecture!r}"
        )


def _check_arguments(kind: str, arguments: dict[str, Any], here: str) -> None:
    for ours, theirs in arguments.items():
        if ours not in ARGUMENTS[kind]:
            near = did_you_mean(ours, ARGUMENTS[kind]) or "; allowed: " + ", ".join(ARGUMENTS[kind])
            raise RegistryError(f"{here}: arguments: zoo gives no {ours!r} to the builder of a {kind}{near}")
        if not isinstance(theirs, str) or not theirs.isidentifier():
            raise RegistryError(
                f"{here}: arguments: {ours}: expected the name of a parameter of the builder, found {theirs!r}"
            )
        if first := next((other for other in arguments if other != ours and arguments[other] == theirs), None):
            raise RegistryError(
                f"{here}: arguments: {first} and {ours} are both {theirs!r}; each has its own parameter"
            )


def _check_plain(value: Any, here: str) -> None:
    """Raise :class:`RegistryError` where `value`, out of `kwargs`, is nothing that a result can store."""
    if isinstance(value, dict):
        if value.keys() == {TUPLE} and not isinstance(value[TUPLE], list):
            raise RegistryError(f"{here}: kwargs: {TUPLE}: expected a list, found {value[TUPLE]!r}")
        for part in value.values():
            _check_plain(part, here)
    elif isinstance(value, list):
        for part in value:
            _check_plain(part, here)
    elif value is not None and (not isinstance(value, str | bool | int | float) or value != value):
        advice = "" if isinstance(value, float) else "; put it in quotes"  # a date, or .nan, which is never the same
        raise RegistryError(
            f"{here}: kwargs: expected text, numbers, true, false, null, lists and mappings, found {value!r}{advice}"
        )


def _checked(key: str, located: Located, here: str) -> Any:
    expected, words = _TYPES[key]
    value: Any = located.plain()
    if expected is dict and value is None:
        return {}
    if not isinstance(value, expected):
        raise RegistryError(f"{here}: {key}: expected {words}, found {yamlfile.type_name(value)}: {value!r}")
    if key == "kwargs":
        _check_plain(value, here)
    if key in ("builder", "conv") and not _BUILDER.match(str(value)):
        raise RegistryError(f'{here}: {key}: expected "module:function", found {value!r}')
    if value not in _CHOICES.get(key, (value,)):
        raise RegistryError(f"{here}: {key}: expected {words}, found {value!r}")
    return value
