"""Weights as safetensors, training state as tensors and numbers: no file that can carry code is ever loaded."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.engine.environment import zoo_commit
from zoo.errors import Message, Option, ResultError
from zoo.results.fields import Git
from zoo.results.history import EpochRow
from zoo.results.schema import SettingsPart, present_name
from zoo.utils.files import write_atomic

STATE_VERSION = 1


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict as safetensors: equal weights make equal bytes."""
    write_atomic(path, as_safetensors(state))


def as_safetensors(state: dict[str, Tensor]) -> bytes:
    """The content of that file."""
    # Tensors are laid out plainly, so that the file's bytes do not tell the memory layout that was trained in.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    # One key only: the library writes several in a random order. What else there is to say stands in result.json.
    return save(plain, metadata={"format": "pt"})


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_weights` wrote. Raises :class:`ResultError` for a damaged or missing file."""
    try:
        return load_file(path)
    except Exception as problem:
        raise ResultError(f"{path}: the weights cannot be read ({' '.join(str(problem).split())})") from problem


@dataclass(frozen=True)
class Identity:
    """What run a saved state is of, and how it was computed: a resume that does not repeat this is refused or reported.

    `run` is :func:`zoo.runner.identity.identity_of`. `settings.device` has no index where there are several processes,
    as each has a GPU of its own. `moved_after`: the epoch after which hardware or software last changed.
    """

    run: dict[str, Any]
    settings: SettingsPart
    processes: int = 1
    environment: dict[str, Any] = field(default_factory=dict)  # empty in states of old, which lack it
    git: Git | None = None
    started: str | None = None  # in the session that began it; None in states of old
    moved_after: int | None = None


@dataclass
class Progress:
    """How far a training is: what a resumed run needs besides tensors."""

    epoch: int = 0  # epochs done
    history: list[EpochRow] = field(default_factory=list)
    window_rates: list[float] = field(default_factory=list)  # images per second, without each session's first
    resumes: int = 0
    best_epoch: int | None = None  # the selected one
    best_value: float | None = None  # an accuracy, or a loss with its sign turned: larger is better


@dataclass(frozen=True)
class SavedState:
    """All of a training after an epoch, the content of ``state.pt``.

    `peak`: the learning rate that the schedule's factor multiplies, which a plateau lowers. `averaged` and `plateau`
    are None where the recipe has none, `best_weights` before the first selected epoch.
    """

    identity: Identity
    progress: Progress
    peak: float
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    averaged: dict[str, Any] | None = None
    plateau: dict[str, Any] | None = None
    best_weights: dict[str, Tensor] | None = None


def save_state(path: Path, state: SavedState) -> None:
    """Write `state` as tensors, numbers, text, lists and dicts of them. Raises as :func:`write_atomic` does."""
    settings = state.identity.settings.model_dump() | vars(state.identity)
    del settings["settings"]
    identity = {"run": settings.pop("run"), "settings": settings}
    parts = vars(state) | {"identity": identity, "progress": asdict(state.progress)}
    content = io.BytesIO()  # torch.save hides the system's reason when a disk is full
    torch.save({"version": STATE_VERSION, **parts}, content)
    write_atomic(path, content.getbuffer())


def load_state(path: Path) -> SavedState | None:
    """Read what :func:`save_state` wrote, onto the CPU; None where there is none.

    Raises :class:`ResultError` for a damaged file or one of another version.
    """
    if not path.is_file():
        return None
    advice: Message = ("; add ", Option("restart"), " to start this run again")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it writes
            if damaged := archive.testzip():
                raise ValueError(f"{damaged}: checksum differs")
        parts = torch.load(path, map_location="cpu", weights_only=True)
        if (version := parts.pop("version")) == STATE_VERSION:
            return _parsed(**parts)
    except Exception as problem:
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ResultError(f"{path}: the saved state cannot be read ({reason[0][:120]})", *advice) from problem
    raise ResultError(f"{path}: the saved state has version {version}, this zoo reads {STATE_VERSION}", *advice)


def _parsed(identity: dict[str, Any], progress: dict[str, Any], **parts: Any) -> SavedState:
    settings = identity["settings"]
    used = SettingsPart(**{name: settings.pop(name) for name in SettingsPart.model_fields})
    settings.setdefault("git", zoo_commit())  # a state of old is taken for this commit's
    progress["history"] = [
        EpochRow(**{present_name(name): cell for name, cell in row.items()}) for row in progress["history"]
    ]
    return SavedState(Identity(identity["run"], used, **settings), Progress(**progress), **parts)
