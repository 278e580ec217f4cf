"""What an extra of the distribution brings, asked for before the work that needs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from zoo.errors import MachineError


def require(what: str, packages: Sequence[str], extra: str) -> None:
    """Raise :class:`MachineError` where one of `packages`, which the `extra` brings, is not installed.

    `what` begins the message, its verb included: ``"pictures need"``. Nothing is imported.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        are = "which are" if len(missing) > 1 else "which is"
        raise MachineError(f"{what} {' and '.join(missing)}, {are} not installed; pip install 'norm-zoo[{extra}]'")
