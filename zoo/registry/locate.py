"""From ``module:function`` to the function that it names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from zoo.errors import RegistryError, ZooError, did_you_mean
from zoo.registry.entries import Origin
from zoo.registry.foreign import foreign
from zoo.registry.importing import import_anew, is_beside, modules_of
from zoo.utils.text import named


def load_builder(builder: str, what: str, origin: Origin) -> Callable[..., Any]:
    """Import ``module:function``. The folder of its `origin`, if it has one, is searched before what is installed.

    Raises :class:`RegistryError` for a module or function that is not there, fails on import or is hidden by another.
    """
    module_name, _, path = builder.partition(":")
    folder = origin.folder
    with foreign(partial(_not_imported, module_name, f"{what} ({origin})", folder)), modules_of(folder):
        target: object = import_anew(module_name)
        top = import_anew(module_name.partition(".")[0])
    if folder:
        beside, file = folder / module_name.replace(".", "/"), getattr(target, "__file__", None)
        is_there = beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file()
        if is_there and not is_beside(top, folder):
            raise RegistryError(f"{what} ({origin}): {beside}.py is hidden by {module_name!r} from {file}; rename it")
    for part in path.split("."):
        with foreign(partial(_not_imported, module_name, f"{what} ({origin})", folder)):  # of a module's __getattr__
            if not hasattr(target, part):
                near = did_you_mean(part, [name for name in dir(target) if not name.startswith("_")])
                raise RegistryError(f"{what} ({origin}): {module_name!r} has no {part!r}{near}")
            target = getattr(target, part)
    if not callable(target):
        raise RegistryError(f"{what} ({origin}): {builder} is not a function or class but {type(target).__name__}")
    return target


def _not_imported(module: str, where: str, folder: Path | None, problem: BaseException) -> ZooError:
    """The error to report where `module` cannot be imported: a script may parse its command line then, and exit."""
    if isinstance(problem, ZooError):
        return problem
    if not isinstance(problem, ModuleNotFoundError):
        return RegistryError(f"{where}: importing {module!r} failed: {named(problem)}")
    if problem.name is None or not (module == problem.name or module.startswith(problem.name + ".")):
        return RegistryError(f"{where}: importing {module!r} failed: {problem}; install it")
    near = did_you_mean(
        module, [stem for file in folder.glob("*.py") if (stem := file.stem) != module] if folder else []
    )
    place = f"in {folder} or installed" if folder else "installed"
    return RegistryError(f"{where}: no module {module!r} {place}{near}")
