"""Packages that zoo does not always bring, asked for before the work that needs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from zoo.errors import MachineError


def require(what: str, packages: Sequence[str]) -> None:
    """Raise :class:`MachineError` where one of `packages` is not installed.

    `what` begins the message, its verb included: ``"plots need"``. Nothing is imported.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        are = "which are" if len(missing) > 1 else "which is"
        raise MachineError(f"{what} {' and '.join(missing)}, {are} not installed; {install(missing)}")


def install(packages: Sequence[str]) -> str:
    """The command that installs `packages` from the package index, wherever zoo itself came from."""
    return f"pip install {' '.join(packages)}"
