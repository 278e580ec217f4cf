"""The decoded copies of datasets in the cache: which there are, what they take, and their removal."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from zoo.data.cache import decoded_folder, discard
from zoo.data.listing import SPLITS
from zoo.data.readers.decode import readable
from zoo.errors import DataError, unknown
from zoo.utils.files import read_file

_FILES = {"meta.json", *(f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels"))}
_META = 64 << 20  # bytes, at most


@dataclass(frozen=True)
class Copy:
    """A decoded copy. `source` is what was decoded; `in_use`: a process has its images mapped (only Linux tells)."""

    folder: Path
    bytes: int
    source: str
    in_use: bool

    @property
    def names(self) -> set[str]:
        """What it is called by: the dataset's name, as far as a folder's can hold it, and the folder's."""
        return {self.folder.name, self.folder.name.rpartition("-")[0]}


def copies(names: Collection[str] = ()) -> list[Copy]:
    """Every decoded copy, or those of these `names`, in order. A folder that holds anything else is none.

    Raises DataError, and :class:`zoo.errors.UnknownNameError` for a name that none has.
    """
    place = decoded_folder()
    with readable(place):
        folders = sorted(path for path in place.iterdir() if _is_copy(path)) if place.is_dir() else []
        mapped = _mapped_folders()
        there = [
            Copy(folder, sum(file.stat().st_size for file in folder.iterdir()), _source(folder),
                 str(folder.resolve()) in mapped)
            for folder in folders
        ]  # fmt: skip
    all_names = set().union(*(copy.names for copy in there))
    for name in names:
        if name not in all_names:
            hint = f"there are {', '.join(sorted(all_names)) or 'none'}"
            raise unknown("decoded copy", name, all_names, str(place), hint)
    return [copy for copy in there if not names or copy.names & set(names)]


def remove(copy: Copy) -> None:
    """Remove a copy, as :func:`zoo.data.cache.discard` does. Raises DataError."""
    try:
        discard(copy.folder)
    except OSError as error:
        raise DataError(f"cannot remove {copy.folder} ({error.strerror}); end what uses it") from error


def _is_copy(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or not re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{16}", path.name):
        return False
    files = list(path.iterdir())
    return bool(files) and all(file.name in _FILES and file.is_file() and not file.is_symlink() for file in files)


def _source(folder: Path) -> str:
    with contextlib.suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        return str(json.loads(read_file(folder / "meta.json", _META))["source"])
    return "damaged"


def _mapped_folders() -> set[str]:
    """The folders of which a process that may be looked into has a file mapped."""
    folders = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            lines = maps.read_text(errors="surrogateescape").splitlines()
            folders |= {f"/{path.rpartition('/')[0]}" for line in lines if (path := line.partition("/")[2])}
    return folders
