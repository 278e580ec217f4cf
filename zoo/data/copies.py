"""The decoded copies of datasets in the cache: which there are, what they take, and their removal."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zoo.data.cache import user_cache
from zoo.data.listing import SPLITS
from zoo.errors import DataError, unknown
from zoo.utils.files import new_folder, read_file, remove_leftovers

_FILES = {"meta.json", *(f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels"))}
_META = 64 << 20  # bytes, at most


@dataclass(frozen=True)
class Copy:
    """A decoded copy. `name` is the dataset's, as far as a folder's name can hold it; `source` what was decoded.

    `in_use`: a process has its images mapped. Only Linux tells.
    """

    folder: Path
    name: str
    bytes: int
    source: str
    in_use: bool


def place() -> Path:
    """The folder of all copies."""
    return user_cache() / "decoded"


def copies() -> list[Copy]:
    """Every decoded copy, by name. A folder that holds anything else is none. Raises DataError."""
    try:
        folders = sorted(path for path in place().iterdir() if _is_copy(path)) if place().is_dir() else []
        mapped = _mapped_folders()
        return [
            Copy(
                folder,
                folder.name.rpartition("-")[0],
                sum(file.stat().st_size for file in folder.iterdir()),
                _source(folder),
                str(folder.resolve()) in mapped,
            )
            for folder in folders
        ]
    except OSError as error:
        raise DataError(f"cannot read {error.filename or place()} ({error.strerror}); check its permissions") from error


def choose(names: Iterable[str], there: list[Copy]) -> list[Copy]:
    """The copies with one of these `names`, of a dataset or of a folder; all without any.

    Raises :class:`zoo.errors.UnknownNameError`.
    """
    wanted = set(names)
    known = {name for copy in there for name in (copy.name, copy.folder.name)}
    if missing := sorted(wanted - known):
        hint = f"there are {', '.join(sorted({copy.name for copy in there}))}" if there else "there are none"
        raise unknown("decoded copy", missing[0], known, str(place()), hint)
    return [copy for copy in there if not wanted or wanted & {copy.name, copy.folder.name}]


def remove(copy: Copy) -> None:
    """Remove a copy, at once for whoever looks for it. Raises DataError."""
    try:
        with new_folder(copy.folder) as aside:
            copy.folder.rename(aside / "old")
        remove_leftovers(copy.folder.parent)
    except FileNotFoundError:
        pass  # another process was first
    except OSError as error:
        raise DataError(f"cannot remove {copy.folder} ({error.strerror}); end what uses it") from error


def _is_copy(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or not re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{16}", path.name):
        return False
    files = list(path.iterdir())
    return bool(files) and all(file.name in _FILES and file.is_file() and not file.is_symlink() for file in files)


def _source(folder: Path) -> str:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        meta = json.loads(read_file(folder / "meta.json", _META))
        if isinstance(meta, dict) and isinstance(source := meta.get("source"), str):
            return source
    return "damaged"


def _mapped_folders() -> set[str]:
    """The folders of which a process that may be looked into has a file mapped."""
    folders = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            lines = maps.read_text(errors="surrogateescape").splitlines()
            folders |= {path.rpartition("/")[0] for line in lines if (path := line.partition("/")[2])}
    return {f"/{folder}" for folder in folders}
