"""A resolved model: its entries, and the weights that it starts from."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from zoo.registry.entries import ArchitectureEntry, Entry, Layout, ModelEntry, NormEntry, Origin

_PACKAGE = Path(__file__).resolve().parents[1]
_COPY = _PACKAGE / "registry.yaml"  # of a wheel; a source tree has the file beside the package
BUILT_IN = _COPY if _COPY.is_file() else _PACKAGE.with_name(_COPY.name)
MARK = "~"  # between a model's name and eight digits of the digest of what it started from


@dataclass(frozen=True)
class Model:
    """A resolved name. Either `architecture` and `norm` are set, or `entry.builder` makes the whole model.

    `swapped`: the builder of `architecture` makes a whole model, whose norms are swapped for `norm` (``NAME@NORM``).
    `pretrained` is the file that its weights start from, where one was given.
    """

    name: str
    origin: Origin
    architecture: ArchitectureEntry | None
    norm: NormEntry | None
    entry: ModelEntry | None = None
    pretrained: Pretrained | None = None
    swapped: bool = False

    @property
    def label(self) -> str:
        """What tables show: the entry's own label, else the architecture's with the norm's."""
        parts = [part.label or part.name for part in (self.architecture, self.norm) if part]
        if self.entry and (self.entry.label or not parts):
            parts = [self.entry.label or self.entry.name]
        if self.pretrained:
            parts.append(f"from weights {self.pretrained.sha256[:8]}")
        return ", ".join(parts)

    @property
    def replacements(self) -> dict[str, str]:
        """Its parts that a package has in place of built-in ones, such as ``norm bn``, each with the package."""
        parts = {"architecture": self.architecture, "norm": self.norm, "model": self.entry}
        return {
            f"{kind} {part.name}": part.origin.distribution for kind, part in parts.items() if part and part.replaces
        }

    @property
    def asked_layout(self) -> Layout | None:
        """The memory layout that its own entry, its norm or its architecture asks for, in this order."""
        parts = (self.entry, self.norm, self.architecture)
        return next((part.layout for part in parts if part and part.layout), None)

    @property
    def layout(self) -> Layout:
        """The memory layout that it is trained in: the one asked for, else channels-last."""
        return self.asked_layout or "channels_last"


def replaced(part: str, package: str) -> str:
    """A sentence on a `part`, such as ``norm bn``, that is of `package`."""
    return f"{part} is that of {package}, which replaces the built-in one."


def is_built_in(origin: Origin) -> bool:
    """Whether an entry is zoo's own, or a library's model that zoo names."""
    return origin.layer == "built in" or origin.path == BUILT_IN


@dataclass(frozen=True)
class Pretrained:
    """The file that a model's weights start from. `path` is None where a run that has it is only read again."""

    sha256: str
    path: Path | None = None


def with_norm(name: str, entry: Entry, norm: NormEntry) -> Model:
    """The model that the builder of `entry` makes, with its norms swapped for `norm`; `name` is ``NAME@NORM``."""
    common = {
        field.name: getattr(entry, field.name) for field in fields(ArchitectureEntry) if hasattr(entry, field.name)
    }
    return Model(name, entry.origin, ArchitectureEntry(**common), norm, swapped=True)


def starting_from(model: Model, pretrained: Pretrained) -> Model:
    """`model` under a name of its own, so that it and the one trained from scratch are never one row."""
    return replace(model, name=f"{model.name}{MARK}{pretrained.sha256[:8]}", pretrained=pretrained)


def registry_name(name: str) -> str:
    """The name that the registry has for the model that a result calls `name`: without the digest of its weights."""
    return re.sub(rf"{MARK}[0-9a-f]{{8}}\Z", "", name)
