"""The layered registry: names to builder strings. Nothing is imported before a model is built, so looking is instant.

Layers, in order: built in, installed plugins (:mod:`zoo.registry.plugins`), ``registry.yaml`` of the working folder or
its nearest parent, ``$ZOO_REGISTRY``, and the file given by ``--registry``. A later layer replaces an entry only with
``override: true``.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo.errors import Option, RegistryError, Words, ZooError, unknown
from zoo.registry import plugins
from zoo.registry.entries import (
    SECTIONS,
    AnyEntry,
    ArchitectureEntry,
    ModelEntry,
    NormEntry,
    Origin,
    RegistryFile,
    read_registry_file,
)
from zoo.registry.model import BUILT_IN, Model, with_norm
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
        for entry in self.models.values():
            self._check_model(entry)

    @property
    def where(self) -> str:
        """The files that were read, for messages."""
        return ", ".join(str(file.path) for file in self.files)

    def names(self) -> Iterator[str]:
        """Every name that resolves: the listed models, then all pairs not listed."""
        yield from self.models
        for architecture in self.architectures:
            for norm in self.norms:
                if (pair := f"{architecture}_{norm}") not in self.models:
                    yield pair

    def resolve(self, name: str) -> Model:
        """The model called `name`: the registry's, such as ``resnet18_bn``, or another library's
        (:mod:`zoo.registry.external`). ``NAME@NORM`` is a model that has a builder of its own, with other norms.

        Raises :class:`~zoo.errors.UnknownNameError` with the nearest names, and :class:`RegistryError` for a pair@NORM.
        """
        if ":" in name:
            from zoo.registry import external

            return external.resolve(name, self.norms, self.where)
        if "@" in name:
            return self._swapped(name)
        if entry := self.models.get(name):
            architecture, norm = self.architectures.get(entry.architecture), self.norms.get(entry.norm)
            return Model(name, entry.origin, architecture, norm, entry)
        pairs = list(self._splits(name))
        if len(pairs) > 1:
            readings = " or ".join(f"{a.name} with norm {n.name}" for a, n in pairs)
            raise RegistryError(f"model {name!r} can be read as {readings}; list it under models: to say which")
        if pairs:
            ((of_architecture, of_norm),) = pairs
            # The later layer is where this pair became possible.
            later = max(of_architecture.origin, of_norm.origin, key=self._layer_index)
            return Model(name, later, of_architecture, of_norm)
        raise self._unknown(name)

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
        if norm not in self.norms:
            raise unknown("norm", norm, self.norms, self.where, f"norms: {', '.join(self.norms)}")
        if "@" in plain:
            raise RegistryError(f"{name}: norms are swapped for one norm; write {plain.partition('@')[0]}@{norm}")
        if plain in self.architectures and plain not in self.models:
            raise RegistryError(f"{name}: {plain} is an architecture, which takes any norm: write {plain}_{norm}")
        model = self.resolve(plain)
        if model.entry and model.entry.builder:
            return with_norm(plain, model.entry, self.norms[norm])
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

    def _unknown(self, name: str) -> Exception:
        """Say which half of the name is wrong where one half is right."""
        for position in reversed([i for i, character in enumerate(name) if character == "_"]):
            architecture, norm = name[:position], name[position + 1 :]
            if architecture in self.architectures:
                pairs = [f"{architecture}_{other}" for other in self.norms]
                return unknown("model", name, pairs, self.where, f"{architecture} takes: {', '.join(self.norms)}")
            if norm in self.norms:
                pairs = [f"{other}_{norm}" for other in self.architectures]
                return unknown("model", name, pairs, self.where, f"architectures: {', '.join(self.architectures)}")
        return unknown("model", name, self.names(), self.where, "`zoo list` shows the names")

    def _check_model(self, entry: ModelEntry) -> None:
        if entry.builder:
            return
        parts = (("architecture", entry.architecture, self.architectures), ("norm", entry.norm, self.norms))
        for kind, name, names in parts:
            if name not in names:
                raise unknown(kind, name, names, f"{entry.origin}, model {entry.name!r}")
        for architecture, norm in self._splits(entry.name):
            if (architecture.name, norm.name) != (entry.architecture, entry.norm):
                raise RegistryError(
                    f"{entry.origin}: model {entry.name!r} would hide the pair {architecture.name} with {norm.name}; "
                    f"rename it, for it means {entry.architecture} with norm {entry.norm}"
                )

    def _layer_index(self, origin: Origin) -> int:
        return next(i for i, file in enumerate(self.files) if file.path == origin.path)


@paused_gc()
def load_registry(extra: str | Path | None = None, folder: Path | None = None) -> Registry:
    """Read all layers. `extra` is the ``--registry`` file; `folder` replaces the working directory.

    A plugin that is wrong is skipped, with one line on stderr. Raises :class:`RegistryError` for any other file that is
    missing or wrong, or a duplicate without ``override: true``, of plugins too.
    """
    built_in, files = _lowest(folder or Path.cwd())
    layers = [built_in, *(plugin.registry for plugin in plugins.sound(_plugins(built_in)) if plugin.registry), *files]
    upper: tuple[tuple[Words, str | Path | None], ...] = (
        (f"${ENVIRONMENT_VARIABLE}", os.environ.get(ENVIRONMENT_VARIABLE)), (Option("registry"), extra),
    )  # fmt: skip
    for layer, place in upper:
        if place:
            path = Path(place).expanduser().resolve()
            if not path.is_file():
                raise RegistryError(layer, f": no such file: {place}; give the path of a registry.yaml")
            if all(path != file.path.resolve() for file in layers):
                layers.append(read_registry_file(path, layer))
    return Registry(layers)


def registry_plugins(folder: Path | None = None) -> list[plugins.Plugin]:
    """The installed plugins of the group ``zoo.registry``, each checked by itself; broken ones say why."""
    return _plugins(_lowest(folder or Path.cwd())[0])


def _lowest(folder: Path) -> tuple[RegistryFile, list[RegistryFile]]:
    """The built-in layer, and that of the working folder if there is one."""
    built_in = read_registry_file(BUILT_IN.resolve(), "built in")
    paths = (parent / "registry.yaml" for parent in (folder.absolute(), *folder.absolute().parents))
    if (nearest := next(filter(Path.is_file, paths), None)) and nearest.resolve() != built_in.path:
        file = read_registry_file(nearest, "working folder")
        # Inside zoo's own source tree that file is the built-in registry, edits and all, not a layer above it.
        if file.builtin:
            return read_registry_file(nearest, "built in"), []
        return built_in, [file]
    return built_in, []


def _plugins(built_in: RegistryFile) -> list[plugins.Plugin]:
    return [_with_sound_models(plugin, built_in) for plugin in plugins.registries()]


def _with_sound_models(plugin: plugins.Plugin, built_in: RegistryFile) -> plugins.Plugin:
    """A plugin's models are made of its own and built-in parts; one with others is broken, and no other layer is."""
    if plugin.registry and plugin.registry.models:
        try:
            Registry([built_in, plugin.registry])
        except DuplicateError:
            pass  # no fault of this plugin alone; load_registry raises it
        except ZooError as problem:
            return plugin.broken(problem)
    return plugin


def _merge(entries: dict[str, AnyEntry], new: dict[str, AnyEntry], kind: str) -> None:
    for name, entry in new.items():
        if name in entries and not entry.override:
            first, second = entries[name].origin, entry.origin
            advice = "rename one, or say `override: true` in the second"
            if second.distribution:  # the reader wrote neither of the two
                packages = [origin.distribution for origin in (first, second) if origin.distribution]
                advice = f"uninstall {' or '.join(dict.fromkeys(packages))}, or ask its author to rename it"
            raise DuplicateError(f"{kind} {name!r} is defined twice: {first} and {second}; {advice}")
        entries[name] = entry
