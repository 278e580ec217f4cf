"""The definition of a model: its builders, their arguments, and the code that it runs."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder
from io import BytesIO
from pathlib import Path
from typing import Any

from zoo.registry.entries import NormEntry, Origin
from zoo.registry.importing import installed_in, is_recorded, modules_of, source
from zoo.registry.locate import load_builder
from zoo.registry.model import Model, is_built_in
from zoo.utils.files import sha256, source_sha256

_SINCE = ("code", "packages", "data")  # parts that definitions have since they cover what the built model runs
_SOURCE = "source_sha256"
_DIGITS = 16


def definition(model: Model, runs: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """The definition of `model` for a result: its builders, their arguments and the code behind them.

    `code` has a hash for each file, `packages` the version of each installed package, `data` a hash for each file that
    an argument names. They leave out what is built in and :data:`zoo.registry.importing.LIBRARIES`: a result records
    their versions. `runs`: the modules that the built model runs (:mod:`zoo.registry.reach`), beside the builders' own;
    what the local ones import is added. `source_sha256` is of what the builders import; older results have it alone.
    Two runs of one name are the same model only where :func:`is_same` says so.
    """
    content: dict[str, Any] = {}
    code: dict[str, str] = {}
    packages: dict[str, str] = {}
    data: dict[str, str] = {}
    waiting = set(runs)
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
        if is_built_in(part.origin):
            continue
        folder = part.origin.folder
        data |= _data(kwargs, folder)
        with modules_of(folder):
            modules = {module for builder in builders for module in _modules(builder, part.name, part.origin)}
            own, seen = _closure(modules, {name.partition(".")[0] for name, _ in modules})
            if digest := _source_hash(own, seen, part.origin):
                content[role][_SOURCE] = digest
            here = {(name, file) for name, file in waiting if folder and Path(file).is_relative_to(folder)}
            waiting -= here
            _describe(own | _closure(here)[0], code, packages)
    _describe(_closure(waiting)[0], code, packages)
    if model.pretrained:
        content["pretrained"] = {"sha256": model.pretrained.sha256}
    parts = zip(_SINCE, (code, packages, data), strict=True)
    return content | {key: dict(sorted(part.items())) for key, part in parts if part}


def is_same(stored: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a stored definition is that of today; one of an older zoo is compared as far as it goes."""
    return stored == now or stored == core(now)


def core(content: Mapping[str, Any]) -> dict[str, Any]:
    """What of a definition one of an older zoo has too."""
    return {key: part for key, part in content.items() if key not in _SINCE}


def difference(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first file, package or argument in which two definitions differ, in words, and how many more there are."""
    changes: list[str] = []
    for key in _SINCE if any(key in stored for key in _SINCE) else ():
        before, today = stored.get(key, {}), now.get(key, {})
        for name in sorted(before.keys() | today.keys()):
            if name not in before or name not in today:
                changes.append(f"{name} is {'new' if name in today else 'gone'}")
            elif before[name] != today[name]:
                changed = f"was {before[name]} and is {today[name]}" if key == "packages" else "has changed"
                changes.append(f"{name} {changed}")
    for role in dict.fromkeys([*now, *stored]):
        before, today = stored.get(role, {}), now.get(role, {})
        if role not in _SINCE and before != today:
            keys = [key for key in dict.fromkeys([*before, *today]) if before.get(key) != today.get(key)]
            if keys != [_SOURCE]:
                changes.insert(0, f"its {role} differs in {' and '.join(key for key in keys if key != _SOURCE)}")
            elif not changes:
                files = f" ({', '.join(now['code'])})" if now.get("code") else ""
                changes.append(f"the code of its {role} has changed{files}")
    return changes[0] + f", and {len(changes) - 1} more" * (len(changes) > 1)


def _modules(builder: str, name: str, origin: Origin) -> Iterator[tuple[str, str]]:
    """The module that `builder` names, and the one that its function is from, with their files."""
    target = load_builder(builder, repr(name), origin)
    for module in (builder.partition(":")[0], getattr(target, "__module__", None)):
        if module and (file := getattr(sys.modules.get(module), "__file__", None)):
            yield module, file


def _closure(modules: Iterable[tuple[str, str]], packages: Iterable[str] = ()) -> tuple[dict[Path, str], set[Path]]:
    """The files of `modules` and of what the local ones import, each with its module, without those that are known by
    a version in the result; and all files that were looked at.

    Of what is installed, only modules of `packages` are followed.
    """
    waiting: list[tuple[str, str | None]] = list(modules)
    own = {Path(file): name for name, file in modules if not is_recorded(name, Path(file))}
    seen: set[Path] = set()
    while waiting:
        module, place = waiting.pop()
        if place is None or (file := Path(place)) in seen:
            continue
        seen.add(file)
        if is_recorded(module, file) or (installed_in(file) and module.partition(".")[0] not in packages):
            continue
        own[file] = module
        package = module if file.stem == "__init__" else module.rpartition(".")[0]
        waiting += [(name, _place(name)) for name in _imports(source(module, file), package)]
    return own, seen


def _source_hash(own: Mapping[Path, str], seen: Iterable[Path], origin: Origin) -> str | None:
    """Over the files `own` and a plugin's package; None where there is none to be hashed."""
    files = dict(own)
    if origin.distribution:
        # A plugin can be installed again with other code and one version, so it is known by its code: its package's
        # files, if the builder is in it at all. A module that is no package has itself alone.
        packed = [folder for folder in origin.path.parents if (folder / "__init__.py").is_file()]
        root = packed[-1] if packed else origin.path
        if any(file.is_relative_to(root) for file in seen):
            files |= dict.fromkeys({root} if root.is_file() else set(root.rglob("*.py")) - files.keys(), "")
    if not files:
        return None
    # By its parts, since Windows compares paths without regard to case.
    ordered = sorted(files, key=lambda file: file.parts)
    digests = (bytes.fromhex(source_sha256(BytesIO(source(files[file], file)))) for file in ordered)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _describe(files: Mapping[Path, str], code: dict[str, str], packages: dict[str, str]) -> None:
    """Add the hash of each of `files` to `code`, and the package of an installed one to `packages`."""
    for file, module in files.items():
        inner = "/__init__" if file.stem == "__init__" else ""
        name = f"{module.replace('.', '/')}{inner}{file.suffix}"
        digest = source_sha256(BytesIO(source(module, file)))[:_DIGITS]
        # Two folders may have files of one name.
        code[name] = digest if code.get(name, digest) == digest else "+".join(sorted({code[name], digest}))
        site = installed_in(file) or next(filter(_holds_packages, file.parents), None)
        if site and (brought := _version(site, file.relative_to(site).as_posix(), site.stat().st_mtime)):
            packages |= [brought]


@lru_cache(maxsize=1024)
def _version(site: Path, inner: str, changed: float) -> tuple[str, str] | None:
    """Name and version of the package that brought the file `inner` to the folder `site`, as last `changed`."""
    from importlib import metadata

    top = _plain(inner.partition("/")[0].partition(".")[0])
    # The likeliest first: a list of files can be long.
    for folder in sorted(
        site.glob("*-info"), key=lambda folder: (_plain(folder.name.partition("-")[0]) != top, folder)
    ):
        distribution = metadata.Distribution.at(folder)
        listed = distribution.read_text("RECORD")
        if f"\n{inner}," in f"\n{listed}" or (listed is None and _plain(distribution.name) == top):
            return distribution.name, distribution.version
    return None


def _holds_packages(folder: Path) -> bool:
    """Whether packages were installed to `folder`, which imports are looked for in, as by ``pip install --target``."""
    return str(folder) in sys.path and any(folder.glob("*.dist-info"))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _data(argument: object, folder: Path | None) -> dict[str, str]:
    """The hash of each file whose path is a text in `argument`: from the working folder, or from that of the registry.

    Names are as they were written, without the folder of an absolute path.
    """
    if isinstance(argument, dict | list | tuple):
        inside = argument.values() if isinstance(argument, dict) else argument
        return {name: digest for inner in inside for name, digest in _data(inner, folder).items()}
    if not isinstance(argument, str):
        return {}
    path = Path(argument).expanduser() if argument.startswith("~/") else Path(argument)
    digests = {sha256(place, as_source=True)[:_DIGITS] for place in {path, (folder or path) / path} if _is_file(place)}
    return {path.name if path.is_absolute() else argument: "+".join(sorted(digests))} if digests else {}


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # longer than a name may be
        return False


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


@lru_cache(maxsize=1024)
def _imports(content: bytes, package: str) -> list[str]:
    """Full names of what a module of `package` imports, modules or not, and of the packages around them."""
    try:
        parsed = ast.parse(content)
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
