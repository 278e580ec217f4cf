"""From ``module:function`` to the function that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zoo.errors import RegistryError, did_you_mean
from zoo.registry.entries import Origin
from zoo.registry.importing import import_anew, is_beside, modules_of


def load_builder(builder: str, what: str, origin: Origin) -> Callable[..., Any]:
    """Import ``module:function``. The folder of its `origin`, if it has one, is searched before what is installed.

    Raises :class:`RegistryError` for a module or function that is not there, fails on import or is hidden by another.
    """
    module_name, _, path = builder.partition(":")
    folder = origin.folder
    try:
        with modules_of(folder):
            target: object = import_anew(module_name)
            top = import_anew(module_name.partition(".")[0])
    except ModuleNotFoundError as problem:
        if problem.name is None or not (module_name == problem.name or module_name.startswith(problem.name + ".")):
            raise RegistryError(
                f"{what} ({origin}): importing {module_name!r} failed: {problem}; install it"
            ) from problem
        near = did_you_mean(module_name, [file.stem for file in folder.glob("*.py")] if folder else [])
        where = f"in {folder} or installed" if folder else "installed"
        raise RegistryError(f"{what} ({origin}): no module {module_name!r} {where}{near}") from problem
    except (Exception, SystemExit) as problem:  # a script that parses its command line when it is imported
        line = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RegistryError(f"{what} ({origin}): importing {module_name!r} failed: {line}") from problem
    if folder:
        beside, file = folder / module_name.replace(".", "/"), getattr(target, "__file__", None)
        is_there = beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file()
        if is_there and not is_beside(top, folder):
            raise RegistryError(f"{what} ({origin}): {beside}.py is hidden by {module_name!r} from {file}; rename it")
    for part in path.split("."):
        if not hasattr(target, part):
            near = did_you_mean(part, [name for name in dir(target) if not name.startswith("_")])
            raise RegistryError(f"{what} ({origin}): {module_name!r} has no {part!r}{near}")
        target = getattr(target, part)
    if not callable(target):
        raise RegistryError(f"{what} ({origin}): {builder} is not a function or class but {type(target).__name__}")
    return target
