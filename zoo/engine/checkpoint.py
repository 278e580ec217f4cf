"""Weights as safetensors, training state as tensors and numbers: no file that can carry code is ever loaded."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.errors import ResultError
from zoo.utils.files import write_atomic

STATE_VERSION = 1


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict as safetensors: equal weights make equal bytes."""
    # Tensors are laid out plainly, so that the file's bytes do not tell the memory layout that was trained in.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    # One key only: the library writes several in a random order. What else there is to say stands in result.json.
    write_atomic(path, save(plain, metadata={"format": "pt"}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_weights` wrote. Raises :class:`ResultError` for a damaged or missing file."""
    try:
        return load_file(path)
    except Exception as problem:
        raise ResultError(f"{path}: the weights cannot be read ({' '.join(str(problem).split())})") from problem


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the training state: tensors, numbers, text, lists and dicts of them."""
    content = io.BytesIO()  # torch.save hides the system's reason when a disk is full
    torch.save({"version": STATE_VERSION, **state}, content)
    write_atomic(path, content.getbuffer())


def load_state(path: Path) -> dict[str, Any] | None:
    """Read what :func:`save_state` wrote, onto the CPU; None where there is none.

    Raises :class:`ResultError` for a damaged file or one of another version.
    """
    if not path.is_file():
        return None
    advice = "add --restart to start this run again"
    try:
        with zipfile.ZipFile(path) as parts:  # torch does not look at the checksums that it writes
            if damaged := parts.testzip():
                raise ValueError(f"{damaged}: checksum differs")
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["version"]
    except Exception as problem:
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ResultError(f"{path}: the saved state cannot be read ({reason[0][:120]}); {advice}") from problem
    if version != STATE_VERSION:
        raise ResultError(f"{path}: the saved state has version {version}, this zoo reads {STATE_VERSION}; {advice}")
    return state
