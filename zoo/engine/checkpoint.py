"""Weights as safetensors, training state as tensors and numbers: no file that can carry code is ever loaded."""

from __future__ import annotations

import copy
import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file, save
from torch import Tensor
from typing_extensions import Buffer

from zoo.engine.environment import zoo_commit
from zoo.errors import Message, Option, ResultError
from zoo.results.fields import Count, Experiment, Git, Number, Scalar, Speed, Text, Whole
from zoo.results.folder import in_words
from zoo.results.history import EpochRow, checked
from zoo.results.schema import SettingsPart
from zoo.utils.files import open_file, write_atomic

STATE_VERSION = 1
EXTRA = "_extra_state"  # of what a module adds to its state itself


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
    as each has a GPU of its own. `at_a_time`: how many runs shared the machine. `moved_after`: the epoch after which
    hardware or software last changed.
    """

    run: Experiment
    settings: SettingsPart
    processes: Count = 1
    at_a_time: Count = 1
    environment: dict[Text, Scalar] = field(default_factory=dict)  # empty in states of old, which lack it
    git: Git | None = None
    started: Text | None = None  # in the session that began it; None in states of old
    moved_after: Count | None = None


@dataclass
class Progress:
    """How far a training is: what a resumed run needs besides tensors."""

    epoch: Whole = 0  # epochs done
    history: list[EpochRow] = field(default_factory=list)
    window_rates: list[Speed] = field(default_factory=list)  # images per second, without each session's first
    resumes: Whole = 0
    best_epoch: Whole | None = None  # the selected one
    best_value: Number | None = None  # an accuracy, or a loss with its sign turned: larger is better


_IDENTITY, _PROGRESS, _PEAK = TypeAdapter(Identity), TypeAdapter(Progress), TypeAdapter(Speed)


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


def copied(state: SavedState) -> SavedState:
    """`state` with copies of its tensors in the CPU's memory, which the training that goes on does not change."""
    progress = replace(state.progress, history=[*state.progress.history], window_rates=[*state.progress.window_rates])
    changing = ("model", "optimizer", "scaler", "averaged", "plateau")
    return replace(state, progress=progress, **{name: _copied(getattr(state, name)) for name in changing})


def _copied(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.detach().to("cpu", copy=True)
    if isinstance(part, dict):
        twin = copy.copy(part)  # with the versions that a module's state has as an attribute
        twin.update((key, _copied(inside)) for key, inside in part.items())
        return twin
    return [_copied(inside) for inside in part] if isinstance(part, list) else part


def save_state(path: Path, state: SavedState) -> None:
    """Write `state` as tensors, numbers, text, lists and dicts of them. Raises as :func:`write_atomic` does."""
    settings = state.identity.settings.model_dump() | vars(state.identity)
    del settings["settings"]
    identity = {"run": settings.pop("run"), "settings": settings}
    parts = vars(state) | {"identity": identity, "progress": asdict(state.progress)}

    def write(file: BinaryIO) -> None:
        reporting = _Reporting(file)
        try:
            with io.BufferedWriter(reporting) as buffered:
                torch.save({"version": STATE_VERSION, **parts}, buffered)
        except RuntimeError as problem:  # torch's own, when what it writes to has failed
            raise reporting.problem or problem from None

    write_atomic(path, write)


class _Reporting(io.RawIOBase):
    """Writes to `file`, and keeps the system's reason why that failed, which torch.save hides."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.problem: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer) -> int:
        try:
            return self._file.write(content)
        except OSError as problem:
            self.problem = problem
            raise


def load_state(path: Path) -> SavedState | None:
    """Read what :func:`save_state` wrote, onto the CPU; None where there is none.

    Raises :class:`ResultError` for a damaged file or one of another version.
    """
    if not os.path.lexists(path):
        return None
    advice: Message = ("; add ", Option("restart"), " to start this run again")
    try:
        with open_file(path) as file:
            with zipfile.ZipFile(file) as archive:
                parts = archive.infolist()
                if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or (
                    sum(part.file_size for part in parts) > os.fstat(file.fileno()).st_size
                ):
                    raise ValueError("it is packed, which zoo does not do")
                if damaged := archive.testzip():  # torch does not look at the checksums that it writes
                    raise ValueError(f"{damaged}: checksum differs")
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
        if (version := content.pop("version")) == STATE_VERSION:
            return _parsed(**content)
    except Exception as problem:
        words = in_words(problem) if isinstance(problem, ValidationError) else str(problem).strip()
        reason = words.splitlines() or [type(problem).__name__]
        raise ResultError(f"{path}: the saved state cannot be read ({reason[0][:120]})", *advice) from problem
    raise ResultError(f"{path}: the saved state has version {version!r:.20}, this zoo reads {STATE_VERSION}", *advice)


def _parsed(identity: dict[str, Any], progress: dict[str, Any], peak: float, **parts: Any) -> SavedState:
    settings = identity["settings"]
    # A state of old lacks what was added since.
    used = SettingsPart(**{name: settings.pop(name) for name in SettingsPart.model_fields if name in settings})
    settings.setdefault("git", zoo_commit())  # a state of old is taken for this commit's
    done = _PROGRESS.validate_python(progress | {"history": checked(progress["history"])})
    if done.epoch != len(done.history):
        raise ValueError(f"{done.epoch} epochs, but {len(done.history)} in the history")
    of = _IDENTITY.validate_python({"run": identity["run"], "settings": used, **settings})
    return SavedState(of, done, _PEAK.validate_python(peak), **parts)


def check_parts(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise ValueError unless what is `saved` of a training's parts has the keys, shapes and types of its `own`."""
    for name, part in own.items():
        if reason := _misfit(saved[name], part, name):
            raise ValueError(reason)


def _misfit(saved: object, own: object, where: str) -> str | None:
    """What of `saved` would not fit in the place of `own`, in words; None where it fits."""
    if where.endswith(EXTRA):
        return None
    if isinstance(own, Tensor):
        if not isinstance(saved, Tensor) or saved.layout != torch.strided or saved.device.type != "cpu":
            return f"{where} is no tensor of numbers"
        if (saved.shape, saved.dtype) != (own.shape, own.dtype):
            return f"{where} is {tuple(saved.shape)} of {saved.dtype}, expected {tuple(own.shape)} of {own.dtype}"
        return None
    if isinstance(own, Mapping):
        if not isinstance(saved, Mapping) or saved.keys() != own.keys():
            return f"{where} has other keys than it should have"
        inside = [(saved[key], part, f"{where}.{key}") for key, part in own.items()]
    elif isinstance(own, list | tuple):
        if not isinstance(saved, list | tuple) or len(saved) != len(own):
            return f"{where} is no list of {len(own)}"
        inside = [(*pair, where) for pair in zip(saved, own, strict=True)]
    else:
        if isinstance(own, bool | str):  # a setting, which a training does not change
            return None if saved == own and type(saved) is type(own) else f"{where} is not {own}"
        if isinstance(saved, int) and abs(saved) >= 2**31:
            return f"{where} is too large"
        kinds = (int, float) if type(own) is float else (type(own),)
        return None if type(saved) in kinds else f"{where} is no {type(own).__name__}"
    return next((reason for parts in inside if (reason := _misfit(*parts))), None)
