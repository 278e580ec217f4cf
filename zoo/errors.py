"""The one error tree. A user's mistake is one line and exit code 2; anything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZooError(Exception):
    """Base of everything a user can cause and mend.

    The message is one line: what is wrong, where, the nearest right value, what to do.
    """

    exit_code = 2


class UnknownNameError(ZooError):
    """A name that is in no registry layer, recipe, data set or key list."""


class RegistryError(ZooError):
    """A registry file or one of its entries is wrong (type, duplicate, missing module, wrong signature)."""


class RecipeError(ZooError):
    """A recipe file or a ``--set`` override is wrong."""


class DataError(ZooError):
    """A data set is missing, damaged or of the wrong kind."""


class ResultError(ZooError):
    """A stored run cannot be read, written or compared."""


class MachineError(ZooError):
    """The machine cannot do what was asked (no such device, no compiler, no disk space)."""


class RunBusyError(MachineError):
    """Another process is at the run; who waits may have it."""


def out_of_memory(problem: Exception) -> str | None:
    """One line where `problem` is torch's word for a full GPU, else None; torch itself may not be imported."""
    if type(problem).__name__ != "OutOfMemoryError":
        return None
    return "the device's memory is full; lower batch_size with --set, or choose a smaller model"


def closest(name: str, choices: Iterable[str], n: int = 3) -> list[str]:
    """The up to `n` members of `choices` most similar to `name`, best first, letter case ignored."""
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=n, cutoff=0.6)]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'a' or 'b'?"``, or ``""`` when nothing is near. Meant to be appended to a message."""
    matches = closest(name, choices)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def unknown(kind: str, name: str, choices: Iterable[str], where: str, hint: str = "") -> UnknownNameError:
    """An :class:`UnknownNameError` that names the nearest right values and the place that was searched.

    >>> str(unknown("norm", "bnn", ["bn", "gn"], "registry.yaml"))
    "unknown norm 'bnn' (looked in registry.yaml); did you mean 'bn' or 'gn'?"
    """
    suggestion = did_you_mean(name, choices) or (hint and f"; {hint}")
    return UnknownNameError(f"unknown {kind} {name!r} (looked in {where}){suggestion}")
