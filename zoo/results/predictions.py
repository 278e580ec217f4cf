"""The predictions of a run on its test images."""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ResultError
from zoo.utils.files import read_file, write_atomic

LARGEST = 64 * 2**20  # bytes
MOST_IMAGES = 10**7
KINDS = {"label": "<i2", "predicted": "<i2", "confidence": "<f4"}
PREFIX, HEADER = 10, 2**16  # bytes of an array's file: up to its header's length, and the most that a header has
LOCAL = 30  # bytes before the name of a part of a zip file


def save_predictions(path: Path, labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> None:
    """Write per-image predictions, (N,) each, in the order of the test split."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        label=labels.astype(np.int16),
        predicted=predicted.astype(np.int16),
        confidence=confidence.astype(np.float32),
    )
    write_atomic(path, content.getbuffer())


def load_predictions(path: Path, names: Sequence[str] = tuple(KINDS)) -> dict[str, np.ndarray]:
    """What :func:`save_predictions` wrote: ``label``, ``predicted``, ``confidence``, or which `names` of these.

    Raises :class:`ResultError`.
    """
    try:
        content = read_file(path, LARGEST)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays = {name: _array(archive, content, f"{name}.npy", np.dtype(KINDS[name])) for name in names}
        if len({array.shape for array in arrays.values()}) > 1:
            raise ValueError
    except Exception as problem:
        reason = getattr(problem, "strerror", None) or "damaged or edited"
        raise ResultError(f"{path}: the predictions cannot be read ({reason})") from problem
    return arrays


def _array(archive: zipfile.ZipFile, content: bytes, name: str, kind: np.dtype[Any]) -> np.ndarray:
    """One array of a file of predictions with that `content`."""
    part = archive.getinfo(name)
    names = part.header_offset + LOCAL - 4  # the lengths of two fields that vary stand at the end of what does not
    start = names + 4 + sum(struct.unpack("<HH", content[names : names + 4]))
    packed = content[start : start + part.compress_size]
    if part.compress_type != zipfile.ZIP_DEFLATED:
        raise ValueError
    return _unpacked(packed, part.file_size, part.CRC, kind)


@functools.lru_cache(maxsize=4)  # the labels of all runs on a dataset are the same bytes
def _unpacked(packed: bytes, size: int, checksum: int, kind: np.dtype[Any]) -> np.ndarray:
    """An array, which nobody may write to, whose size in memory is looked at before it is unpacked."""
    if size > MOST_IMAGES * kind.itemsize + HEADER:
        raise ValueError
    part = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    length = PREFIX + int.from_bytes(part[PREFIX - 2 : PREFIX], "little")
    count, dtype = _header(part[:length])
    if (len(part), zlib.crc32(part)) != (size, checksum) or (dtype, length + count * kind.itemsize) != (kind, size):
        raise ValueError
    return np.frombuffer(part, kind, offset=length)


@functools.lru_cache(maxsize=64)  # all runs on a dataset have the same
def _header(content: bytes) -> tuple[int, np.dtype[Any]]:
    """The length and the type of the numbers of an array with that header of a file."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError
    (count,), _, dtype = np.lib.format.read_array_header_1_0(file)
    return count, dtype
