"""The definition of a model: its builders, their arguments, and the hash of their code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
import weakref
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.registry.entries import NormEntry, Origin
from zoo.registry.locate import load_builder
from zoo.registry.model import Model

LIBRARIES = ("torch", "torchvision", "albumentations", "timm", "numpy")  # a result records their versions
# Of code as it was loaded: a module that is imported again is another key.
_hashes: weakref.WeakKeyDictionary[ModuleType, dict[tuple[str | Path, ...], str | None]] = weakref.WeakKeyDictionary()


def definition(model: Model) -> dict[str, Any]:
    """The definition of `model` for a result: its builders, their arguments and the hash of their code.

    The hash covers the builders' own code and the local code that it imports. The result records the versions of
    :data:`LIBRARIES`, Python and zoo. Two runs of one name are the same model only where their definitions are equal;
    editing a local ``my_norm.py`` changes it. Imported code is hashed once: what is edited later does not run.
    """
    content: dict[str, Any] = {}
    for role, part in (("architecture", model.architecture), ("norm", model.norm), ("model", model.entry)):
        if not part or not (part.builder or part.kwargs):
            continue
        # Where something lies is not what it is; no registry file can give a path.
        kwargs = {key: value for key, value in part.kwargs.items() if not isinstance(value, Path)}
        content[role] = {"name": part.name, "builder": part.builder, "kwargs": kwargs}
        content[role] |= {"arguments": part.arguments} if part.arguments else {}
        builders = [part.builder] if part.builder else []
        if isinstance(part, NormEntry):
            content[role] |= {"conv": part.conv, "activation": part.activation}
            builders += [part.conv] if part.conv else []
        if builders and (digest := _hash_of_loaded(builders, part.name, part.origin)):
            content[role]["source_sha256"] = digest
    if model.pretrained:
        content["pretrained"] = {"sha256": model.pretrained.sha256}
    return content


def _hash_of_loaded(builders: list[str], name: str, origin: Origin) -> str | None:
    targets = [load_builder(builder, repr(name), origin) for builder in builders]
    modules = [builder.partition(":")[0] for builder in builders]
    modules += [module for target in targets if (module := getattr(target, "__module__", None)) in sys.modules]
    hashes = _hashes.setdefault(sys.modules[modules[0]], {})
    key: tuple[str | Path, ...] = (*modules, origin.path, origin.distribution)
    if key not in hashes:
        hashes[key] = _source_hash(modules, origin)
    return hashes[key]


def _source_hash(modules: list[str], origin: Origin) -> str | None:
    """Over the files of `modules`, which are loaded, and those that they import; None where none is to be hashed."""
    packages = {module.partition(".")[0] for module in modules}
    files: set[Path] = set()
    own: set[Path] = set()
    waiting = [(module, getattr(sys.modules[module], "__file__", None)) for module in modules]
    while waiting:
        module, place = waiting.pop()
        if place is None or (file := Path(place)) in files:
            continue
        files.add(file)
        if _is_own(module, file, packages):
            own.add(file)
            package = module if file.stem == "__init__" else module.rpartition(".")[0]
            waiting += [(name, _place(name)) for name in _imports(file, package)]
    if origin.distribution:
        # A plugin can be installed again with other code and one version, so it is known by its code: its package's
        # files, if the builder is in it at all. A module that is no package has itself alone.
        packed = [folder for folder in origin.path.parents if (folder / "__init__.py").is_file()]
        root = packed[-1] if packed else origin.path
        if any(file.is_relative_to(root) for file in files):
            own |= {root} if root.is_file() else set(root.rglob("*.py"))
    if not own:
        return None
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in sorted(own))).hexdigest()


def _is_own(module: str, file: Path, packages: set[str]) -> bool:
    """Whether no version in a result covers `module`. Of what is installed, that is the builders' own `packages`."""
    package = module.partition(".")[0]
    if package in (*LIBRARIES, "zoo"):
        return False
    if {"site-packages", "dist-packages"}.intersection(file.parts):
        return package in packages
    return not file.is_relative_to(sysconfig.get_path("stdlib"))


def _place(module: str) -> str | None:
    """The file of `module`, found without importing it: what is loaded already must make no difference."""
    first, *others = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):  # loaded, but from no file
        return None
    for count, _ in enumerate(others, 2):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(module.split(".")[:count]), spec.submodule_search_locations)
    return spec.origin if spec is not None and spec.has_location else None


def _imports(file: Path, package: str) -> list[str]:
    """Full names of what `file` of `package` imports, modules or not, and of the packages around them."""
    try:
        parsed = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # compiled, or edited since into what cannot be imported
        return []
    names: list[str] = []
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, (*above, node.module)))
            names += [f"{base}.{alias.name}" for alias in node.names]
    dotted = [name.split(".") for name in names]
    return [".".join(parts[:count]) for parts in dotted for count in range(1, len(parts) + 1)]
