"""From ``module:function`` to the function that it names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import RegistryError, did_you_mean
from zoo.registry.entries import Origin
from zoo.registry.model import BUILT_IN

if TYPE_CHECKING:
    pass


def load_builder(builder: str, what: str, origin: Origin) -> Callable[..., Any]:
    """Import ``module:function``. The folder of the registry file that says so is searched first, but for a plugin's:
    what is installed is found as any import finds it, and a package's folder is no place to import from.

    Raises :class:`RegistryError` for a module or function that is not there, fails on import or is hidden by another.
    """
    module_name, _, path = builder.partition(":")
    # In zoo's source tree its registry is a link, so its entries are of either folder.
    zoos_own = origin.path.parent in (BUILT_IN.parent, BUILT_IN.resolve().parent)
    folder = None if origin.distribution or zoos_own else origin.path.parent
    if folder and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not (module_name == problem.name or module_name.startswith(problem.name + ".")):
            raise RegistryError(
                f"{what} ({origin}): importing {module_name!r} failed: {problem}; install it"
            ) from problem
        near = did_you_mean(module_name, [file.stem for file in folder.glob("*.py")] if folder else [])
        where = f"in {folder} or installed" if folder else "installed"
        raise RegistryError(f"{what} ({origin}): no module {module_name!r} {where}{near}") from problem
    except Exception as problem:
        line = " ".join(f"{type(problem).__name__}: {problem}".split())
        raise RegistryError(f"{what} ({origin}): importing {module_name!r} failed: {line}") from problem
    beside = folder / module_name.replace(".", "/") if folder else None
    if beside and (beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file()):
        found = getattr(target, "__file__", None)
        if not found or not Path(found).resolve().is_relative_to(folder.resolve()):
            raise RegistryError(f"{what} ({origin}): {beside}.py is hidden by {module_name!r} from {found}; rename it")
    for part in path.split("."):
        if not hasattr(target, part):
            near = did_you_mean(part, [name for name in dir(target) if not name.startswith("_")])
            raise RegistryError(f"{what} ({origin}): {module_name!r} has no {part!r}{near}")
        target = getattr(target, part)
    if not callable(target):
        raise RegistryError(f"{what} ({origin}): {builder} is not a function or class but {type(target).__name__}")
    return target
