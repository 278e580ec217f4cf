"""CIFAR's own archives, read by torchvision.

Its reader unpickles, and only files whose published MD5 it has checked; nothing else in zoo unpickles anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.cache import decoded_folder
from zoo.data.listing import SPLITS, Listing, in_memory
from zoo.data.readers.decode import hash_files, readable
from zoo.data.readers.foreign import PAGE
from zoo.errors import DataError
from zoo.utils.files import new_folder

ARCHIVES = {  # name: (archive, the folder it unpacks to)
    "cifar10": ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-python.tar.gz", "cifar-100-python"),
}
_ADVICE = f"move it elsewhere and fetch the archive again; a version of your own comes in as {PAGE} shows"


def _reader(name: str) -> Any:
    import torchvision

    return torchvision.datasets.CIFAR10 if name == "cifar10" else torchvision.datasets.CIFAR100


def checksum(name: str) -> str:
    """The MD5 of the published archive."""
    digest: str = _reader(name).tgz_md5
    return digest


def find_archive(name: str, roots: Sequence[Path]) -> Path | None:
    """The unpacked folder or the archive of `name` in the first of `roots` (or its subfolder `name`) that has one."""
    archive, folder = ARCHIVES[name]
    for root in roots:
        for place in (root, root / name):
            for path in (place / folder, place / archive):
                if path.exists():
                    return path
    return next((root for root in roots if root.name == folder and root.is_dir()), None)


def archive_key(path: Path) -> str:
    """Hash over the bytes of an archive, or of every file of the unpacked folder."""
    if path.is_dir():
        with readable(path):
            return hash_files(path, sorted(p for p in path.iterdir() if p.is_file()))
    return hash_files(path.parent, [path])


def read_archive(path: Path, name: str) -> Listing:
    """`path` is the archive or the folder it unpacks to; torchvision checks the MD5 of each file before it is read."""
    if path.is_dir():
        return _read_unpacked(path, name)
    from torchvision.datasets.utils import check_integrity, extract_archive

    with readable(path):
        good = check_integrity(path, checksum(name))
    if not good:
        raise DataError(
            f"{path}: is not the published archive, or truncated (its MD5 is not {checksum(name)}); {_ADVICE}"
        )
    parent = decoded_folder()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with new_folder(parent / f"{name}-archive", 0o700) as temporary:
            extract_archive(str(path), str(temporary))
            return _read_unpacked(temporary / ARCHIVES[name][1], name)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"cannot unpack {path} into {parent} ({reason}); 190 MB are needed, set ZOO_CACHE elsewhere"
        ) from error


def _read_unpacked(folder: Path, name: str) -> Listing:
    splits = {}
    reader = _reader(name)
    with readable(folder):
        for split in SPLITS:
            try:
                content = reader(folder.parent, train=split == "train", download=False)
            except RuntimeError as error:  # torchvision's word for a file that is missing or has another MD5
                bad = _first_bad(folder, reader)
                raise DataError(f"{bad}: missing, truncated, or not the published file (MD5); {_ADVICE}") from error
            splits[split] = in_memory(np.ascontiguousarray(content.data), np.array(content.targets, dtype=np.int64))
    return Listing(tuple(content.classes), splits)


def _first_bad(folder: Path, reader: Any) -> Path:
    from torchvision.datasets.utils import check_integrity

    files = [*reader.train_list, *reader.test_list, [reader.meta["filename"], reader.meta["md5"]]]
    return next((folder / file for file, md5 in files if not check_integrity(folder / file, md5)), folder)
