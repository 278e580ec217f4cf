"""Decoded datasets on disk: ``.npy`` files that are memory-mapped, checked on every load and rebuilt when damaged.

One folder per dataset and source content, ``<user cache>/decoded/<name>-<key16>/``::

    train_images.npy  (N, H, W, 3) uint8      test_images.npy   (M, H, W, 3) uint8
    train_labels.npy  (N,) int64              test_labels.npy   (M,) int64
    meta.json         format version, size and SHA-256 of each array file, fingerprint, classes, source,
                      files left out by suffix, exact duplicates, sizes that images were resized from,
                      statistics of the channels of train

Images are written block by block as they are decoded: no split is ever whole in memory. A folder is written under a
temporary name beside its place, flushed and renamed, so that a reader sees a whole folder or none, and of two processes
that build the same one the first wins and the second uses it.
``$ZOO_CACHE`` names another folder than the user cache of the operating system.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zoo.data.content import Content, Duplicates, Resized, count_duplicates
from zoo.data.listing import SPLITS, Listing, Part
from zoo.data.statistics import Channels
from zoo.errors import DataError
from zoo.utils.disk import put, rename
from zoo.utils.files import new_folder, remove_leftovers, write_new
from zoo.utils.memory import size, usable_memory

FORMAT = 4  # 1 had 16 bits a channel clipped and no EXIF rotation; 2 and 3 lacked duplicates or statistics
_BLOCK = 1 << 22  # bytes per write: large enough for full disk speed
_LARGE = 1_000_000_000  # bytes of decoded images that a line announces: writing them takes a while
_SILENT = 10.0  # seconds
_STALE = 24 * 3600  # seconds after which a temporary folder can only be the rest of a killed process
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

log = logging.getLogger("zoo")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cache `folder`, opened and checked: `arrays` maps "train_images", ... to read-only arrays (memory maps).

    `fingerprint` is the SHA-256 (hex) of class names, labels and pixels. `left_out` counts, by suffix, files that are
    not part of the dataset. `resized` is None where no image was resized as it was decoded. `fresh`: decoded just now.
    """

    folder: Path
    classes: tuple[str, ...]
    fingerprint: str
    arrays: dict[str, np.ndarray] = field(repr=False, compare=False)
    left_out: dict[str, int] = field(default_factory=dict)
    duplicates: Duplicates = field(default_factory=Duplicates)
    resized: Resized | None = None
    channels: Channels | None = None
    fresh: bool = field(default=False, compare=False)


class _Damaged(Exception):
    """What is wrong with a cache folder; never leaves this module."""


def user_cache() -> Path:
    """The folder for decoded and downloaded data: ``$ZOO_CACHE``, else the operating system's user cache for zoo."""
    if override := os.environ.get("ZOO_CACHE"):
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("zoo", appauthor=False))


def decoded_folder() -> Path:
    """Where the decoded copies of datasets are."""
    return user_cache() / "decoded"


def open_or_build(name: str, source: str, key: str, read: Callable[[], Listing]) -> Entry:
    """The cached dataset `name` for content `key` of the `source`, decoded now if it is absent or damaged.

    Raises DataError when the cache cannot be written, and whatever `read` and its blocks raise.
    """
    folder = decoded_folder() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)[:100]}-{key[:16]}"
    if entry := _open_if_good(folder):
        return entry
    listing = read()
    try:
        return _write(folder, source, listing)
    except OSError as error:
        raise _cannot_write(folder, listing, error) from error


def damage(folder: Path) -> str | None:
    """What is wrong with a cache folder (one phrase), or None when every byte of it is as it was written."""
    try:
        _read_meta(folder)
    except _Damaged as reason:
        return str(reason)
    return None


def _open_if_good(folder: Path) -> Entry | None:
    try:
        return _open(folder) if folder.is_dir() else None
    except OSError as error:
        advice = "set ZOO_CACHE to a folder of your own, or mend its permissions"
        raise DataError(f"cannot read the data cache {folder} ({error.strerror or error}); {advice}") from error
    except _Damaged as reason:
        log.warning("cache %s damaged (%s), rebuilding", folder, reason)
        return None


def _open(folder: Path) -> Entry:
    meta = _read_meta(folder)
    arrays = {}
    for split in SPLITS:
        # Mapping reads the header only: no test pixel is loaded until somebody asks for it.
        arrays[f"{split}_images"] = np.load(folder / f"{split}_images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
        labels.flags.writeable = False
        arrays[f"{split}_labels"] = labels
    if (resized := meta["resized"]) is not None:
        resized = Resized(resized["count"], tuple(resized["smallest"]), tuple(resized["largest"]))
    return Entry(
        folder=folder, classes=tuple(meta["classes"]), fingerprint=meta["fingerprint"], arrays=arrays,
        left_out=meta["left_out"], duplicates=Duplicates(**meta["duplicates"]), resized=resized,
        channels=Channels(*map(tuple, meta["channels"].values())),
    )  # fmt: skip


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_bytes())
        if meta["check"] != _meta_check(meta):
            raise _Damaged("meta.json: checksum differs")
        if meta["format"] != FORMAT:
            raise _Damaged(f"format {meta['format']}, this version writes {FORMAT}")
        for file, recorded in meta["files"].items():
            path = folder / file
            if (size := path.stat().st_size) != recorded["bytes"]:
                raise _Damaged(f"{file}: {size} bytes instead of {recorded['bytes']}")
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != recorded["sha256"]:
                    raise _Damaged(f"{file}: checksum differs")
    except OSError as error:
        raise _Damaged(f"{Path(error.filename or folder).name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged("meta.json: not readable") from error
    return meta


def _meta_check(meta: dict[str, Any]) -> str:
    text = json.dumps({key: value for key, value in meta.items() if key != "check"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(folder: Path, source: str, listing: Listing) -> Entry:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    _check_room(folder, listing)
    with new_folder(folder) as temporary:
        files, content = {}, Content(listing.classes)
        for split in SPLITS:
            part = listing.splits[split]
            images, labels = (f"{split}_{kind}.npy" for kind in ("images", "labels"))
            blocks = _watched(content.blocks(split, part), split, part)
            files[images] = _write_array(temporary / images, part.shape, np.uint8, blocks)
            files[labels] = _write_array(temporary / labels, part.labels.shape, np.int64, [part.labels])
        meta: dict[str, Any] = {
            "format": FORMAT,
            "fingerprint": content.digest.hexdigest(),
            "classes": list(listing.classes),
            "source": source,
            "left_out": dict(listing.left_out),
            "resized": asdict(resized) if (resized := Resized.of(listing)) else None,
            "duplicates": asdict(count_duplicates(content.hashes)),
            "channels": asdict(content.sums.channels()),
            "files": files,
        }
        meta["check"] = _meta_check(meta)
        write_new(temporary / "meta.json", json.dumps(meta, indent=1).encode())
        return _publish(temporary, folder)


def _watched(blocks: Iterator[np.ndarray], split: str, part: Part) -> Iterator[np.ndarray]:
    """The `blocks` of `part`; a line says how far it is where they take long."""
    done, last = 0, time.monotonic()
    for block in blocks:
        yield block
        done += len(block)
        if time.monotonic() - last > _SILENT:
            last = time.monotonic()
            log.warning("decoded %s of %s %s images", f"{done:,}", f"{len(part.labels):,}", split)


def _publish(temporary: Path, folder: Path) -> Entry:
    """Rename `temporary` to `folder`; a good folder that another process put there first is used instead."""
    for _ in range(10):  # each turn lost means that another process moved something; ten in a row do not happen
        try:
            put(temporary, folder, replace=False)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            return replace(_open(folder), fresh=True)
        except _Damaged:
            discard(folder)
    raise OSError(errno.EIO, "what was written does not read back the same", str(folder))


def discard(folder: Path) -> None:
    """Remove a folder of the cache, at once for whoever looks for it. Raises OSError."""
    with new_folder(folder) as aside, contextlib.suppress(FileNotFoundError):  # another process was first
        rename(folder, aside / "old")


def _write_array(
    path: Path, shape: tuple[int, ...], kind: npt.DTypeLike, blocks: Iterable[np.ndarray]
) -> dict[str, Any]:
    """Write one ``.npy`` file; its size and SHA-256. (``np.save`` loses the error number when a disk is full.)"""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    )
    digest, rows = hashlib.sha256(header.getvalue()), 0
    with path.open("wb") as stream:
        stream.write(header.getvalue())
        for block in blocks:
            if block.shape[1:] != shape[1:] or block.dtype != kind:
                raise ValueError(f"{path.name}: a block of {block.dtype} {block.shape} for {shape}")
            rows += len(block)
            body = block.reshape(-1).view(np.uint8).data
            for start in range(0, len(body), _BLOCK):
                piece = body[start : start + _BLOCK]
                digest.update(piece)
                stream.write(piece)
        if rows != shape[0]:
            raise ValueError(f"{path.name}: {rows} rows for {shape}")
        return {"bytes": stream.tell(), "sha256": digest.hexdigest()}


def _remove_stale(parent: Path) -> None:
    remove_leftovers(parent)
    for pattern in (".building-*", ".damaged-*", ".extract-*"):  # of earlier versions
        for path in parent.glob(pattern):
            try:
                stale = time.time() - path.stat().st_mtime > _STALE
            except FileNotFoundError:
                continue  # its own process finished meanwhile
            if stale:
                shutil.rmtree(path, ignore_errors=True)


def _check_room(folder: Path, listing: Listing) -> None:
    """Refuse what the disk has no room for; a line says what a large dataset takes. No image has been decoded yet."""
    need, free = listing.nbytes, shutil.disk_usage(folder.parent).free
    if need > free:
        raise OSError(errno.ENOSPC, f"{size(free)} are free", str(folder))
    if need > _LARGE:
        count = sum(len(part.labels) for part in listing.splits.values())
        height, width = listing.splits["train"].size
        log.warning(
            "decoding %s images of %dx%d pixels: %s of the %s free at %s; batches are read from there where the %s "
            "that they take in memory do not fit (it has %s)",
            f"{count:,}", width, height, size(need), size(free), folder, size(4 * count * height * width),
            size(usable_memory()),
        )  # fmt: skip


def _cannot_write(folder: Path, listing: Listing, error: OSError) -> DataError:
    if error.errno in _NO_SPACE:
        return DataError(
            f"no disk space for the data cache {folder}: the decoded images need {size(listing.nbytes)} "
            f"({error.strerror}); free some, or set ZOO_CACHE to a folder on another disk"
        )
    reason = error.strerror or str(error)
    return DataError(f"cannot write the data cache {folder} ({reason}); set ZOO_CACHE to a writable folder")
