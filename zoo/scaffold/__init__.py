"""What `zoo new` writes: a whole package that adds a norm, an architecture or a recipe, from templates."""

from __future__ import annotations

import contextlib
import keyword
import os
import re
from pathlib import Path
from string import Template

from zoo.errors import MachineError, Option, RegistryError
from zoo.recipes.catalogue import recipe_files
from zoo.registry.entries import DEVICE, registry_file
from zoo.registry.merge import Registry, load_registry
from zoo.registry.model import BUILT_IN
from zoo.utils.disk import put
from zoo.utils.files import new_folder, write_new
from zoo.utils.yamlfile import Located

KINDS = ("norm", "architecture", "recipe")
TEMPLATES = Path(__file__).with_name("templates")
_SUFFIX = ".template"
_NAME = re.compile(r"[a-z](_?[a-z0-9])*\Z")
_LONGEST = 30  # so that no line of the code gets too long


def write(kind: str, name: str, into: Path) -> list[Path]:
    """Make the folder ``zoo-KIND-NAME`` in `into` and give the files in it.

    Raises :class:`RegistryError` for a name that is no name in Python, a package and a registry alike, or that zoo has,
    and for a folder that is there; :class:`MachineError` where it cannot be written.
    """
    _check_name(kind, name)
    distribution = f"zoo-{kind}-{name}"
    folder = into / distribution
    if os.path.lexists(folder):
        raise RegistryError(f"{folder} is there already; remove it, or give another folder with ", Option("into"))
    words = {
        "name": name,
        "distribution": distribution,
        "package": f"zoo_{kind}_{name}",
        "class_name": class_name(name),
    }
    written = []
    try:
        with contextlib.suppress(FileExistsError):
            into.mkdir(parents=True)
        with new_folder(folder) as fresh:
            for template in sorted((TEMPLATES / kind).rglob(f"*{_SUFFIX}")):
                inside = template.relative_to(TEMPLATES / kind).as_posix().removesuffix(_SUFFIX)
                inside = inside.replace("PACKAGE", words["package"]).replace("NAME", name)
                write_new(fresh / inside, Template(template.read_text(encoding="utf-8")).substitute(words).encode())
                written.append(folder / inside)
            put(fresh, folder, replace=False)
    except OSError as problem:
        raise MachineError(f"{folder}: cannot be written: {problem.strerror}") from problem
    return written


def class_name(name: str) -> str:
    """``my_norm`` to ``MyNorm``."""
    return "".join(part.capitalize() for part in name.split("_"))


def nearest_name(kind: str, name: str) -> str:
    """The valid name that is most like `name`."""
    near = re.sub(r"[^a-z0-9]+", "_", name.lower())[:_LONGEST].strip("_")
    if not near or not near[0].isalpha():
        near = f"{kind}_{near}".strip("_")[:_LONGEST].strip("_")
    return f"{near}_{kind}" if _is_taken(near) else near


def _is_taken(name: str) -> bool:
    """Whether Python or Windows has another meaning for `name`."""
    return keyword.iskeyword(class_name(name)) or DEVICE.match(name) is not None


def _check_name(kind: str, name: str) -> None:
    if not _NAME.match(name) or len(name) > _LONGEST or _is_taken(name):
        raise RegistryError(
            f"{name!r} cannot be the name of a package's {kind}: it has to be small letters, digits and single _ "
            f"between them, {_LONGEST} at most, begin with a letter, and mean nothing to Python or Windows; "
            f"take {nearest_name(kind, name)!r}"
        )
    if kind == "recipe":
        if origin := recipe_files().get(name):
            raise RegistryError(f"recipe {name!r} is there already: {origin}; take another name")
        return
    # The built-in layer alone: what else there is here is not there where the package will be installed.
    built_in = next(file for file in load_registry(folder=BUILT_IN.parent).files if file.builtin)
    if entry := getattr(built_in, f"{kind}s").get(name):
        raise RegistryError(f"{kind} {name!r} is there already: {entry.origin}; take another name")
    new = Located({f"{kind}s": Located({name: Located("a.module:builder", 1)}, 1)}, 1)
    try:
        registry = Registry([built_in, registry_file(new, Path("registry.yaml"), "new")])
        for other in registry.architectures if kind == "norm" else registry.norms:
            registry.resolve(f"{other}_{name}" if kind == "norm" else f"{name}_{other}")
    except RegistryError as problem:
        reason = str(problem).partition(";")[0]
        raise RegistryError(f"{kind} {name!r} would clash with zoo's own: {reason}; take another name") from problem
