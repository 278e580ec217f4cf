"""What one registry file says: typed entries, each knowing its file and line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import RegistryError, did_you_mean
from zoo.utils import yamlfile
from zoo.utils.yamlfile import Located

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")
_BUILDER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


@dataclass(frozen=True)
class Origin:
    """Where an entry stands: the layer (``built in``, ``plugin``, ``working folder``, ...), the file and the line.

    `distribution` is the installed package that it belongs to, with its version (``zoo-norm-x 1.0``), if any.
    """

    layer: str
    path: Path
    line: int
    distribution: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" + (f" of {self.distribution}" if self.distribution else "")


@dataclass(frozen=True)
class NormEntry:
    """One line under ``norms:``."""

    name: str
    origin: Origin
    builder: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    activation: str = "separate"
    conv: str = ""
    batch_independent: bool = False
    paper: str = ""
    override: bool = False


@dataclass(frozen=True)
class ArchitectureEntry:
    """One line under ``architectures:``."""

    name: str
    origin: Origin
    builder: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    paper: str = ""
    override: bool = False


@dataclass(frozen=True)
class ModelEntry:
    """One line under ``models:``: an architecture with a norm, or a builder of its own (``norm`` and all)."""

    name: str
    origin: Origin
    architecture: str = ""
    norm: str = ""
    builder: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    override: bool = False


Entry = NormEntry | ArchitectureEntry | ModelEntry
SECTIONS: dict[str, type[Entry]] = {"norms": NormEntry, "architectures": ArchitectureEntry, "models": ModelEntry}

# Key -> the type its value must have, and how a message calls that type.
_TYPES: dict[str, tuple[type, str]] = {
    "builder": (str, '"module:function"'),
    "conv": (str, '"module:function"'),
    "kwargs": (dict, "a mapping of keyword arguments"),
    "label": (str, "text"),
    "paper": (str, "text"),
    "activation": (str, "'included' or 'separate'"),
    "batch_independent": (bool, "true or false"),
    "override": (bool, "true or false"),
    "architecture": (str, "the name of an architecture"),
    "norm": (str, "the name of a norm"),
}
# Keys that an author who thinks of training may write under an entry, or as a section; a recipe's own are among them.
RECIPE_KEYS = frozenset({
    "recipe", "recipes", "dataset", "split", "augment", "augmentation", "transforms", "epochs", "batch_size",
    "drop_last", "optimizer", "optimiser", "lr", "learning_rate", "momentum", "weight_decay", "schedule", "scheduler",
    "lr_scheduler", "warmup", "loss", "criterion", "label_smoothing", "ema", "lookahead", "clip_grad_norm", "precision",
    "mirror_evaluation", "shifted_evaluation", "selection", "tuned",
})  # fmt: skip
_ONE_RECIPE = (
    "a model cannot bring its own recipe, all models of a table share one; "
    "write a recipe file and give it to all of them, as in --recipe ./mine.yaml"
)
# `builtin: true` marks zoo's own registry, so that a source checkout's file is not taken for a second layer.
BUILTIN_MARK = "builtin"


@dataclass(frozen=True)
class RegistryFile:
    """The entries of one file by section, and whether it is zoo's own."""

    path: Path
    layer: str
    builtin: bool
    norms: dict[str, NormEntry]
    architectures: dict[str, ArchitectureEntry]
    models: dict[str, ModelEntry]


def read_registry_file(path: Path, layer: str, distribution: str = "") -> RegistryFile:
    """Parse and check `path`. Raises :class:`RegistryError` naming file, line, key and what was expected."""
    return registry_file(yamlfile.read(path, RegistryError), path, layer, distribution)


def registry_file(document: Located, path: Path, layer: str, distribution: str = "") -> RegistryFile:
    """The entries of a mapping of sections that stands in `path`. Raises as :func:`read_registry_file` does."""
    sections: dict[str, dict[str, Entry]] = {name: {} for name in SECTIONS}
    builtin = False
    for section, located in document.value.items():
        if section == BUILTIN_MARK:
            if not isinstance(located.value, bool):
                raise RegistryError(
                    f"{path}:{located.line}: builtin: expected true or false, found {located.plain()!r}"
                )
            builtin = located.value
        elif section in RECIPE_KEYS:
            raise RegistryError(f"{path}:{located.line}: section {section!r}: {_ONE_RECIPE}")
        elif section not in SECTIONS:
            raise RegistryError(
                f"{path}:{located.line}: unknown section {section!r}, expected norms, architectures or models"
                + did_you_mean(section, SECTIONS)
            )
        elif located.value is not None:
            sections[section] = _entries(section, located, Origin(layer, path, 1, distribution))
    return RegistryFile(path, layer, builtin, **sections)


def _entries(section: str, located: Located, of: Origin) -> dict[str, Entry]:
    if not isinstance(located.value, dict):
        found = yamlfile.type_name(located.value)
        raise RegistryError(f"{of.path}:{located.line}: {section}: expected a mapping of names, found {found}")
    return {name: _entry(section, name, item, of) for name, item in located.value.items()}


def _entry(section: str, name: str, item: Located, of: Origin) -> Entry:
    kind = section[:-1]
    where = f"{of.path}:{item.line}: {kind} {name!r}"
    if not _NAME.match(name):
        raise RegistryError(f"{where}: a name is letters, digits and _ . + -, and starts with a letter or digit")
    fields = item.value
    if isinstance(fields, str):  # the one-line form, `mine: "my_norm:mine"`
        fields = {"builder": Located(fields, item.line)}
    if not isinstance(fields, dict):
        found = yamlfile.type_name(fields)
        raise RegistryError(f'{where}: expected "module:function" or a mapping, found {found}')
    cls = SECTIONS[section]
    allowed = [key for key in cls.__dataclass_fields__ if key in _TYPES]
    values: dict[str, Any] = {}
    for key, located in fields.items():
        here = f"{of.path}:{located.line}: {kind} {name!r}"
        if key in RECIPE_KEYS:
            raise RegistryError(f"{here}: {key!r}: {_ONE_RECIPE}")
        if key not in allowed:
            raise RegistryError(
                f"{here}: unknown key {key!r}{did_you_mean(key, allowed) or '; allowed: ' + ', '.join(allowed)}"
            )
        values[key] = _checked(key, located, here)
    if cls is ModelEntry:
        if bool(values.get("builder")) == bool(values.get("architecture") and values.get("norm")):
            raise RegistryError(f"{where}: expected 'architecture' and 'norm', or a 'builder'")
    elif "builder" not in values:
        raise RegistryError(f"{where}: 'builder' is missing, expected \"module:function\"")
    return cls(name=name, origin=Origin(of.layer, of.path, item.line, of.distribution), **values)


def _checked(key: str, located: Located, here: str) -> Any:
    expected, words = _TYPES[key]
    value = located.plain()
    if expected is dict and value is None:
        value = {}
    if not isinstance(value, expected):
        raise RegistryError(f"{here}: {key}: expected {words}, found {yamlfile.type_name(value)}: {value!r}")
    if key in ("builder", "conv") and not _BUILDER.match(value):
        raise RegistryError(f'{here}: {key}: expected "module:function", found {value!r}')
    if key == "activation" and value not in ("included", "separate"):
        raise RegistryError(f"{here}: activation: expected 'included' or 'separate', found {value!r}")
    return value
