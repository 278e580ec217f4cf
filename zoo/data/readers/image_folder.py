"""A folder of pictures: train/<class>/* and test/<class>/*."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from stat import S_ISREG

import numpy as np

from zoo.data.cache import SPLITS, Decoded
from zoo.data.readers.decode import decode_all, expected, readable
from zoo.errors import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"}


def is_image_folder(root: Path) -> bool:
    """Whether `root` has train/<class>/ and test/<class>/ folders."""
    with readable(root):
        return all((root / split).is_dir() and any(p.is_dir() for p in (root / split).iterdir()) for split in SPLITS)


def image_files(root: Path, split: str) -> dict[str, list[Path]]:
    """Picture files by class folder, both in order of name."""
    with readable(root / split):
        folders = sorted(p for p in (root / split).iterdir() if p.is_dir() and not p.name.startswith("."))
        return {
            folder.name: sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) for folder in folders
        }


def image_folder_key(root: Path) -> str:
    """A hash over relative path, size and time of every picture: reading 60,000 small files would take too long."""
    digest = hashlib.sha256()
    with readable(root):
        for split in SPLITS:
            for folder in image_files(root, split).values():
                for path in folder:
                    stat = path.stat()
                    if not S_ISREG(stat.st_mode):
                        raise DataError(f"{path}: is no regular file; remove it")
                    line = f"{path.relative_to(root).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
                    digest.update(os.fsencode(line))
    return digest.hexdigest()


def read_image_folder(root: Path, name: str) -> Decoded:
    """A folder with train/<class>/*.png (or jpg, ...) and test/<class>/*; classes are train's folder names, sorted."""
    _, side = expected(name)
    by_class = {split: image_files(root, split) for split in SPLITS}
    classes = tuple(by_class["train"])
    if extra := sorted(set(by_class["test"]) - set(classes)):
        raise DataError(
            f"{root / 'test' / extra[0]}: a class that {root / 'train'} does not have; {len(classes)} are there"
        )
    splits = {}
    for split in SPLITS:
        for label, paths in by_class[split].items():
            if not paths:
                raise DataError(f"{root / split / label}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
        paths = [path for folder in by_class[split].values() for path in folder]
        if not paths:
            raise DataError(f"{root / split}: no class folders in it; expected {split}/<class>/")
        labels = np.array([classes.index(c) for c, folder in by_class[split].items() for _ in folder], dtype=np.int64)
        images = decode_all(paths, len(paths), [str(path) for path in paths].__getitem__, side)
        splits[split] = (images, labels)
    return Decoded(classes, splits, f"image folder {root}")
