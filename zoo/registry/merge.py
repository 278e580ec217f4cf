"""The layered registry: names to builder strings. Nothing is imported before a model is built, so looking is instant.

Layers, in order: built in, installed plugins (:mod:`zoo.registry.plugins`), ``registry.yaml`` of the working folder or
its nearest parent, ``$ZOO_REGISTRY``, and the file given by ``--registry``. A later layer replaces an entry only with
``override: true``.
"""

from __future__ import annotations

import copy
import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.errors import Option, RegistryError, Words, ZooError, unknown
from zoo.registry import plugins
from zoo.registry.entries import (
    SECTIONS,
    AnyEntry,
    ArchitectureEntry,
    Entry,
    ModelEntry,
    NormEntry,
    Origin,
    RegistryFile,
    read_registry_file,
)
from zoo.registry.model import BUILT_IN, Model, is_built_in, replaced, with_norm
from zoo.registry.trust import check_trusted
from zoo.registry.unknown import unknown_model
from zoo.utils.files import reachable
from zoo.utils.gcpause import paused_gc

ENVIRONMENT_VARIABLE = "ZOO_REGISTRY"
_WILDCARDS = frozenset("*?[")


class DuplicateError(RegistryError):
    """One name in two layers, and the upper one does not say ``override: true``."""


class Registry:
    """A read-only view over the layers; a name is resolved by :meth:`resolve`, a pattern by :meth:`match`."""

    def __init__(self, files: Iterable[RegistryFile]) -> None:
        self.files = tuple(files)
        self.norms: dict[str, NormEntry] = {}
        self.architectures: dict[str, ArchitectureEntry] = {}
        self.models: dict[str, ModelEntry] = {}
        for file in self.files:
            for section in SECTIONS:
                _merge(getattr(self, section), getattr(file, section), section[:-1])
        self._of_packages = {section: _by_package(section, self.files) for section in SECTIONS}
        self._all_norms: dict[str, NormEntry] = self._of_packages["norms"] | self.norms
        self._all_architectures: dict[str, ArchitectureEntry] = self._of_packages["architectures"] | self.architectures
        for entry in self.models.values():
            self._check_model(entry)

    @property
    def where(self) -> str:
        """The files that were read, for messages."""
        return ", ".join(str(file.path) for file in self.files)

    @property
    def option(self) -> list[Option]:
        """The option that names the topmost file, where one did."""
        return [Option("registry", str(file.path)) for file in self.files if file.layer == Option("registry")]

    def names(self) -> Iterator[str]:
        """Every name that resolves: the listed models, then all pairs not listed."""
        yield from (package + name for package, name, _ in choices(self.models))
        for package, architecture, _ in choices(self.architectures):
            for other, norm, _ in choices(self.norms):
                if (pair := f"{architecture}_{norm}") not in self.models and (not other or package in ("", other)):
                    yield f"{package or other}{pair}"

    def resolve(self, name: str) -> Model:
        """The model called `name`: the registry's, such as ``resnet18_bn``, or another library's
        (:mod:`zoo.registry.external`). ``NAME@NORM`` is a model that has a builder of its own, with other norms, and
        ``PACKAGE:NAME`` is what NAME means to an installed package.

        Raises :class:`~zoo.errors.UnknownNameError` with the nearest names, and :class:`RegistryError` for a pair@NORM
        and for a name of several packages.
        """
        model = self._resolve(name)
        for kind, part in (("architecture", model.architecture), ("norm", model.norm), ("model", model.entry)):
            if part and part.rivals:
                places = " and ".join(str(rival.origin) for rival in part.rivals)
                ways = " or ".join(f"{rival.origin.package}:{name}" for rival in part.rivals)
                raise DuplicateError(f"{kind} {part.name!r} is defined twice: {places}; write {ways}")
        return model

    def _resolve(self, name: str) -> Model:
        package, colon, meant = name.partition(":")
        if colon and any(key.startswith(f"{package}:") for part in self._of_packages.values() for key in part):
            return replace(self._as_of(package).resolve(meant), name=name)
        if ":" in (name.rpartition("@")[0] or name):
            from zoo.registry import external

            return external.resolve(name, self._all_norms, self.where)
        if "@" in name:
            return self._swapped(name)
        if entry := self.models.get(name):
            architecture = _own(self._all_architectures.get(entry.architecture), entry.origin)
            return Model(name, entry.origin, architecture, _own(self._all_norms.get(entry.norm), entry.origin), entry)
        pairs = list(self._splits(name))
        if len(pairs) > 1:
            readings = " or ".join(f"{a.name} with norm {n.name}" for a, n in pairs)
            raise RegistryError(f"model {name!r} can be read as {readings}; list the intended one under models:")
        if pairs:
            ((of_architecture, of_norm),) = pairs
            # The later layer is where this pair became possible.
            later = max(of_architecture.origin, of_norm.origin, key=self._layer_index)
            return Model(name, later, of_architecture, of_norm)
        raise unknown_model(name, self.architectures, self.norms, self.names(), self.where)

    def match(self, patterns: Iterable[str]) -> list[Model]:
        """The models for names and shell patterns (``resnet*_ln``), in the order given, without repeats.

        Raises :class:`~zoo.errors.UnknownNameError` for a name that does not resolve or a pattern that matches nothing.
        """
        models: dict[str, Model] = {}
        for pattern in patterns:
            is_pattern = _WILDCARDS.intersection(pattern) and ":" not in pattern
            names = fnmatch.filter(self._names_like(pattern), pattern) if is_pattern else [pattern]
            if not names:
                hint = ("no name matches; `zoo list ", Option("all"), "` shows all names")
                raise unknown("model pattern", pattern, [], self.where, *hint)
            for model in map(self.resolve, names):
                models.setdefault(model.name, model)
        return list(models.values())

    def _names_like(self, pattern: str) -> Iterable[str]:
        """What `pattern` chooses from: of models with a builder of their own, ``NAME@NORM`` where it has an ``@``."""
        if "@" not in pattern:
            return self.names()
        return [f"{entry.name}@{norm}" for entry in self.models.values() if entry.builder for norm in self.norms]

    def _swapped(self, name: str) -> Model:
        plain, _, norm = name.rpartition("@")
        if norm not in self._all_norms:
            raise unknown("norm", norm, self.norms, self.where, f"norms: {', '.join(self.norms)}")
        if "@" in plain:
            raise RegistryError(f"{name}: norms are swapped for one norm; write {plain.partition('@')[0]}@{norm}")
        if plain in self.architectures and plain not in self.models:
            raise RegistryError(f"{name}: {plain} is an architecture, which takes any norm: write {plain}_{norm}")
        model = self.resolve(plain)
        if model.entry and model.entry.builder:
            return with_norm(name, model.entry, self._all_norms[norm])
        architecture, own = (part.name if part else "" for part in (model.architecture, model.norm))
        arguments = model.entry and model.entry.kwargs
        instead = f"list one under models: with norm: {norm}" if arguments else f"write {architecture}_{norm}"
        raise RegistryError(f"{name}: {plain} is architecture {architecture} with norm {own}; {instead}")

    def _splits(self, name: str) -> Iterator[tuple[ArchitectureEntry, NormEntry]]:
        for position, character in enumerate(name):
            if character == "_":
                architecture, norm = self.architectures.get(name[:position]), self.norms.get(name[position + 1 :])
                if architecture and norm:
                    yield architecture, norm

    def _check_model(self, entry: ModelEntry) -> None:
        if entry.builder:
            return
        parts: tuple[tuple[str, str, Mapping[str, Entry]], ...] = (
            ("architecture", entry.architecture, self._all_architectures), ("norm", entry.norm, self._all_norms),
        )  # fmt: skip
        for kind, name, names in parts:
            if name not in names:
                raise unknown(kind, name, names, f"{entry.origin}, model {entry.name!r}")
        for architecture, norm in self._splits(entry.name):
            if (architecture.name, norm.name) != (entry.architecture, entry.norm):
                raise RegistryError(
                    f"{entry.origin}: model {entry.name!r} would hide the pair {architecture.name} with {norm.name}; "
                    f"rename it, for it means {entry.architecture} with norm {entry.norm}"
                )

    def of_packages(self) -> list[str]:
        """The names that a package has in place of built-in ones, and those that several packages have, in words."""
        lines = []
        for kind, entries in (("norm", self.norms), ("architecture", self.architectures), ("model", self.models)):
            for name, entry in entries.items():
                if entry.rivals:
                    packages = " and ".join(rival.origin.distribution for rival in entry.rivals)
                    ways = " or ".join(f"{rival.origin.package}:NAME" for rival in entry.rivals)
                    lines.append(f"{kind} {name} is in {packages}; for a model NAME that uses it write {ways}.")
                elif entry.replaces:
                    lines.append(replaced(f"{kind} {name}", entry.origin.distribution))
        return lines

    def _as_of(self, package: str) -> Registry:
        """This registry with the entries of `package` above all others."""
        view = copy.copy(self)
        for section, entries in self._of_packages.items():
            above = {entry.name: entry for entry in entries.values() if entry.origin.package == package}
            setattr(view, section, getattr(self, section) | above)
        view._all_norms = self._all_norms | view.norms
        view._all_architectures = self._all_architectures | view.architectures
        return view

    def _layer_index(self, origin: Origin) -> int:
        return next(i for i, file in enumerate(self.files) if file.path == origin.path)


@paused_gc()
def load_registry(extra: str | Path | None = None, folder: Path | None = None) -> Registry:
    """Read all layers. `extra` is the ``--registry`` file; `folder` replaces the working directory.

    A plugin that is wrong is skipped, with one line on stderr. Raises :class:`RegistryError` for any other file that is
    missing or wrong, or has a name of a layer below without ``override: true``.
    """
    upper: tuple[tuple[Words, str | Path | None], ...] = (
        (f"${ENVIRONMENT_VARIABLE}", os.environ.get(ENVIRONMENT_VARIABLE)), (Option("registry"), extra),
    )  # fmt: skip
    named = []
    for layer, place in upper:
        if place:
            with reachable(place, RegistryError):
                path = Path(place).expanduser().resolve()
                if not path.is_file():
                    raise RegistryError(layer, f": no such file: {place}; give the path of a registry.yaml")
                named.append((layer, path))
    built_in, files = _lowest(folder or Path.cwd(), [path for _, path in named])
    layers = [built_in, *(plugin.registry for plugin in plugins.sound(_plugins(built_in)) if plugin.registry), *files]
    for layer, path in named:
        if all(path != file.path.resolve() for file in layers):
            layers.append(read_registry_file(path, layer))
    return Registry(layers)


def registry_plugins() -> list[plugins.Plugin]:
    """The installed plugins of the group ``zoo.registry``, each checked by itself; broken ones say why."""
    return _plugins(_built_in())


def _built_in() -> RegistryFile:
    return read_registry_file(BUILT_IN, "built in")


def _lowest(folder: Path, taken: Iterable[Path]) -> tuple[RegistryFile, list[RegistryFile]]:
    """The built-in layer, and that of the working `folder` or its nearest parent if there is one.

    Raises :class:`RegistryError` for a parent's file that others could have written, unless it is among those `taken`.
    """
    built_in = _built_in()
    paths = (parent / "registry.yaml" for parent in (folder.absolute(), *folder.absolute().parents))
    nearest = next(filter(Path.is_file, paths), None)
    if not nearest or nearest.resolve() == built_in.path:
        return built_in, []
    if nearest.parent != folder.absolute() and nearest.resolve() not in taken:
        check_trusted(nearest, folder.absolute())
        plugins.say_once(f"the registry of a parent folder is used: {nearest}")
    file = read_registry_file(nearest, "working folder")
    # Inside zoo's own source tree that file is the built-in registry, edits and all, not a layer above it.
    return (read_registry_file(nearest, "built in"), []) if file.builtin else (built_in, [file])


def _plugins(built_in: RegistryFile) -> list[plugins.Plugin]:
    return [_with_sound_models(plugin, built_in) for plugin in plugins.registries()]


def _with_sound_models(plugin: plugins.Plugin, built_in: RegistryFile) -> plugins.Plugin:
    """A plugin's models are made of its own and built-in parts, and it says where it replaces a built-in one; another
    one is broken, and no other layer is.
    """
    if plugin.registry:
        try:
            Registry([built_in, plugin.registry])
        except ZooError as problem:
            return plugin.broken(problem)
    return plugin


def choices(entries: Mapping[str, AnyEntry]) -> Iterator[tuple[str, str, Entry]]:
    """The `entries` with their names, and before a name that several packages have each of these (``package:``)."""
    for name, entry in entries.items():
        for rival in entry.rivals or (entry,):
            yield f"{rival.origin.package}:" if entry.rivals else "", name, rival


def _merge(entries: dict[str, AnyEntry], new: dict[str, AnyEntry], kind: str) -> None:
    for name, entry in new.items():
        lower = entries.get(name)
        if lower and lower.origin.distribution and entry.origin.distribution:
            if not entry.override or lower.replaces:  # who uses the name has to say whose
                entries[name] = replace(lower, rivals=(*(lower.rivals or (lower,)), entry))
                continue
        elif lower and not entry.override:
            first, second = lower.origin, entry.origin
            advice = "rename one, or add `override: true` to the second"
            if second.distribution:  # the reader did not write it
                advice = f"uninstall {second.distribution}, or ask its author to rename it"
            raise DuplicateError(f"{kind} {name!r} is defined twice: {first} and {second}; {advice}")
        over_built_in = bool(lower and entry.origin.distribution and (is_built_in(lower.origin) or lower.replaces))
        entries[name] = replace(entry, replaces=True) if over_built_in else entry


def _by_package(section: str, files: Iterable[RegistryFile]) -> dict[str, Any]:
    """The entries of plugins by ``package:name``."""
    entries = (entry for file in files for entry in getattr(file, section).values() if entry.origin.distribution)
    return {f"{entry.origin.package}:{entry.name}": entry for entry in entries}


def _own(part: AnyEntry | None, origin: Origin) -> AnyEntry | None:
    """`part`, or that of its rivals which is of the same package as `origin`."""
    rivals: tuple[Any, ...] = part.rivals if part else ()
    return next((rival for rival in rivals if rival.origin.distribution == origin.distribution), part)
