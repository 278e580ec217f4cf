"""What was done to a module as it was built, in words: commands that build it print it, a result stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_ATTRIBUTE = "_zoo_notes"


def add(module: nn.Module, *lines: str) -> None:
    """Remember `lines` with `module`; a copy has them too."""
    setattr(module, _ATTRIBUTE, [*of(module), *lines])


def of(module: nn.Module) -> list[str]:
    """The lines of :func:`add`, in order."""
    return list(vars(module).get(_ATTRIBUTE, ()))  # a __getattr__ of its own may find anything
