"""All errors of zoo. A user's mistake is one line and exit code 2; anything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """An argument of what was asked for, inside a message: ``Option("data_dir")``, ``Option("set", "batch_size=64")``.

    `name` is the one in Python, with underscores. In Python it reads ``data_dir``; the command line words it
    ``--data-dir``.
    """

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name} {self.value}"

    @property
    def arguments(self) -> list[str]:
        """As words of a command."""
        return [f"--{self.name.replace('_', '-')}", *([] if self.value is None else [self.value])]


Words = str | Option
Message = tuple[Words, ...]  # what :func:`sentence` makes a text of


def sentence(parts: Iterable[Words], word: Callable[[Option], str] = str) -> str:
    """The `parts` of a message as one text, each :class:`Option` in it as `word` puts it."""
    return "".join(part if isinstance(part, str) else word(part) for part in parts)


class ZooError(Exception):
    """Base of all errors that a user can cause and correct.

    The message is one line: what is wrong, where, the nearest right value, what to do. Its `parts` are text and, where
    an argument is meant, an :class:`Option`, which the command line words as its own.

    >>> str(ZooError("5 is more than there are; lower ", Option("batch_size")))
    '5 is more than there are; lower batch_size'
    """

    exit_code = 2

    def __init__(self, *parts: Words) -> None:
        super().__init__(*parts)
        self.parts = parts

    def __str__(self) -> str:
        return sentence(self.parts)


class UnknownNameError(ZooError):
    """A name that is in no registry layer, recipe, dataset or key list."""


class RegistryError(ZooError):
    """A registry file or one of its entries is wrong (type, duplicate, missing module, wrong signature)."""


class RecipeError(ZooError):
    """A recipe file or a ``--set`` override is wrong."""


class DataError(ZooError):
    """A dataset is missing, damaged or of the wrong kind."""


class ResultError(ZooError):
    """A stored run cannot be read, written or compared."""


class MachineError(ZooError):
    """The machine cannot do what was asked (no such device, no compiler, no disk space)."""


class RunBusyError(MachineError):
    """Another process holds the run; it is free once that process ends."""


def out_of_memory(problem: BaseException) -> MachineError | None:
    """The error to report where `problem` says that memory is full, of a device or the machine, else None.

    Does not import torch, whose allocator of a CPU raises a RuntimeError.
    """
    if type(problem).__name__ == "OutOfMemoryError":
        whose = "the device's"
    elif isinstance(problem, MemoryError) or (isinstance(problem, RuntimeError) and "DefaultCPUAll" in str(problem)):
        whose = "the machine's"
    else:
        return None
    smaller = Option("set", "batch_size=32")
    return MachineError(f"{whose} memory is full; lower the batch size, as in ", smaller, ", or choose a smaller model")


def closest(name: str, choices: Iterable[str], n: int = 3) -> list[str]:
    """The up to `n` members of `choices` most similar to `name`, best first, letter case ignored."""
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=n, cutoff=0.6)]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'a' or 'b'?"``, or ``""`` when nothing is near. Meant to be appended to a message."""
    matches = closest(name, choices)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def unknown(kind: str, name: str, choices: Iterable[str], where: Words, *hint: Words) -> UnknownNameError:
    """An :class:`UnknownNameError` that names the nearest right values and the place that was searched.

    `hint` says what to do where no right value is near.

    >>> str(unknown("norm", "bnn", ["bn", "gn"], "registry.yaml"))
    "unknown norm 'bnn' (looked in registry.yaml); did you mean 'bn'?"
    """
    near = did_you_mean(name, choices)
    suggestion: Message = (near,) if near else ("; ", *hint) if any(hint) else ()
    return UnknownNameError(f"unknown {kind} {name!r} (looked in ", where, ")", *suggestion)
