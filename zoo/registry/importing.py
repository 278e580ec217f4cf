"""Importing what lies beside a registry: its own files first, compiled from the bytes that are hashed.

Python takes byte code for a file where second and length of the last change agree, so a file edited twice within a
second would run as it was before. Here no byte code is read or written. Modules of two folders may have one name:
:func:`modules_of` shows the code of a folder its own.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import sysconfig
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.abc import MetaPathFinder, ResourceLoader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, all_suffixes
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar
from zipimport import zipimporter

LIBRARIES = ("torch", "torchvision", "albumentations", "timm", "numpy")  # a result records their versions
# Never put aside for a file of that name: the process runs on them.
_KEPT = frozenset({*sys.stdlib_module_names, *LIBRARIES, "zoo"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
STANDARD = Path(sysconfig.get_path("stdlib"))


class _Loader(SourceFileLoader):
    """Compiles the file as it is, and remembers it."""

    content: bytes | None = None

    def exec_module(self, module: ModuleType) -> None:
        """Run the code. Its imports find the modules of its folder whenever it runs, as in a forward pass.

        Random numbers that it draws are the same in each process, and those after it do not depend on it.
        """
        from zoo.utils.seeding import same_random_numbers, seed_all

        if _Finder.current is not None:
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": partial(_import, _Finder.current)}
        with same_random_numbers():
            seed_all(0)
            super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file, or of what :func:`source` has read of it before."""
        path = self.get_filename(fullname)
        waiting = _Finder.read.pop(path, None)
        self.content = self.get_data(path) if waiting is None else waiting
        code: CodeType = self.source_to_code(self.content, path)
        return code


class _Finder(MetaPathFinder):
    """Finds what :data:`current` and the code that it imports consist of, but for what is installed."""

    current: ClassVar[Path | None] = None  # the folder whose code runs, or ran last
    folders: ClassVar[set[str]] = set()  # that were put on sys.path here
    tops: ClassVar[dict[Path, set[str]]] = {}  # names that were found in each folder
    aside: ClassVar[dict[Path, dict[str, ModuleType]]] = {}  # modules of folders that are not in sys.modules now
    read: ClassVar[dict[str, bytes]] = {}  # files that were hashed before they are imported

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that Python finds, the folder of the registry first, with a loader that reads no byte code."""
        folder, spec = self.current, None
        top = fullname.partition(".")[0]
        if folder is None or top == "zoo":
            return None
        if beside := path is None and _has(folder, fullname):
            spec = PathFinder.find_spec(fullname, [str(folder)], target)
            if spec and spec.submodule_search_locations is not None:  # a list: no other folder is ever merged into it
                spec.submodule_search_locations = list(spec.submodule_search_locations)
            self.tops[folder].add(top)
        if top in _KEPT and not beside and not (path and Path(path[0]).is_relative_to(folder)):
            return None
        for finder in sys.meta_path:
            if spec is None and finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
        if spec and spec.origin and type(spec.loader) is SourceFileLoader and not installed_in(Path(spec.origin)):
            spec.loader, spec.cached = _Loader(fullname, spec.origin), None
        return spec


_finder = _Finder()


@lru_cache(maxsize=4096)
def installed_in(file: Path) -> Path | None:
    """The ``site-packages`` that `file` is in, or Python's own library; None for a file that no installer put there."""
    sites = (parent for parent in file.parents if parent.name in _INSTALLED)
    return next(sites, STANDARD if file.is_relative_to(STANDARD) else None)


def import_anew(name: str) -> ModuleType:
    """Import the module `name`. Where it is not loaded, files that were read before for one that was are read again.

    A module that is a script too sees no arguments: these are zoo's.
    """
    if name not in sys.modules:
        _Finder.read.clear()
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        return importlib.import_module(name)
    finally:
        sys.argv = arguments


def is_recorded(module: str, file: Path) -> bool:
    """Whether a version in each result covers `module`: Python's, zoo's or one of :data:`LIBRARIES`."""
    return module.partition(".")[0] in (*LIBRARIES, "zoo") or installed_in(file) == STANDARD


@contextmanager
def modules_of(folder: Path | None) -> Iterator[None]:
    """Code of `folder` runs in the block: its imports find the modules beside it before all others.

    Afterwards modules that had to make way are back. None changes nothing.
    """
    if folder is None or folder == (outer := _active[-1] if _active else None):
        yield
        return
    if _finder not in sys.meta_path:
        at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(at, _finder)  # after what claims single modules, such as pytest's tests
    if str(folder) not in sys.path:
        _Finder.folders.add(str(folder))
    inside = str(folder) + os.sep  # compared as text: this runs for each norm of a network
    for place in [place for place in sys.path_importer_cache if f"{place}{os.sep}".startswith(inside)]:
        del sys.path_importer_cache[place]  # a file that is new there may be younger than the list of its folder
    others = [place for place in sys.path if place in _Finder.folders and place != str(folder)]
    _set_path([str(folder)], leaving=others)
    _Finder.tops.setdefault(folder, set())
    displaced = _make_way(folder)
    sys.modules.update(_Finder.aside.pop(folder, {}))
    _active.append(folder)
    _Finder.current = folder
    try:
        yield
    finally:
        _active.pop()
        _Finder.current = outer or folder
        _set_path([*others, str(folder)] if outer else [str(folder), *others])
        _Finder.aside[folder] = _taken({name.partition(".")[0] for name in displaced})
        sys.modules.update(displaced)


def _import(
    folder: Path,
    name: str,
    names: Mapping[str, Any] | None = None,
    local: Mapping[str, Any] | None = None,
    wanted: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """What ``import`` does in code of `folder`. Another folder's code may have run last."""
    top = (str((names or {}).get("__package__")) if level else name).partition(".")[0]
    there = sys.modules.get(top)
    is_own = folder in _active[-1:] or top in _KEPT or (there and is_beside(there, folder)) or not _has(folder, top)
    with modules_of(None if is_own else folder):
        return builtins.__import__(name, names, local, wanted or (), level)


_active: list[Path] = []  # folders whose code runs, the innermost last


def _set_path(first: list[str], leaving: Sequence[str] = ()) -> None:
    sys.path[:] = [*first, *(place for place in sys.path if place not in first and place not in leaving)]


def _make_way(folder: Path) -> dict[str, ModuleType]:
    """Take out of ``sys.modules`` what `folder` has modules of its own for, and what other folders brought."""
    names = {entry.name.partition(".")[0] for entry in folder.iterdir()} if folder.is_dir() else set()
    others = [other for other in _Finder.tops if other != folder]
    tops = {top for top in sys.modules if "." not in top} & names.union(*_Finder.tops.values()) - _KEPT

    def is_foreign(top: str) -> bool:
        module = sys.modules[top]
        by_another = any(top in _Finder.tops[other] and is_beside(module, other) for other in others)
        return not is_beside(module, folder) and (by_another or _has(folder, top))

    return _taken(set(filter(is_foreign, tops)))


def _taken(tops: set[str]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in tops] if tops else []
    return {name: sys.modules.pop(name) for name in names}


def is_beside(module: ModuleType, folder: Path) -> bool:
    """Whether the top-level `module` is a file or a folder in `folder`."""
    file = getattr(module, "__file__", None)
    place = Path(file or next(iter(getattr(module, "__path__", ())), "/"))
    # A file that is a link lies where the link is.
    return (place.parent if place.stem == "__init__" else place).parent.resolve() == folder.resolve()


def _has(folder: Path, name: str) -> bool:
    """Whether `name` is a module or package in `folder`. A folder of other things, such as ``wandb/``, is none."""
    package = folder / name
    if package.is_dir():
        inside = {entry.name for entry in package.iterdir()}
        bare = any(entry.endswith(".py") for entry in inside) and not inside & {"setup.py", "pyproject.toml"}
        if "__init__.py" in inside or bare:
            return True
    return any((folder / (name + ending)).is_file() for ending in all_suffixes())


_read_of: weakref.WeakKeyDictionary[ModuleType, bytes] = weakref.WeakKeyDictionary()


def source(name: str, file: Path) -> bytes:
    """The content of `file` as module `name` was imported from it; where it is not yet, as it will be imported."""
    module = sys.modules.get(name)
    if module is None or getattr(module, "__file__", None) != str(file):
        content = _Finder.read[str(file)] = file.read_bytes() if file.is_file() else b""
        return content
    loader = module.__loader__
    if isinstance(loader, _Loader) and loader.content is not None:
        return loader.content
    if module not in _read_of:  # imported before zoo was asked for it
        _read_of[module] = loader.get_data(str(file)) if isinstance(loader, ResourceLoader | zipimporter) else b""
    return _read_of[module]
