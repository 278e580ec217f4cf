"""A folder of pictures: train/<class>/* and test/<class>/*."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from zoo.data.listing import SPLITS, Listing, Part
from zoo.data.readers.decode import decode_blocks, expected, first_size, hash_states, readable
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
    """What identifies the folder's content in the cache; no picture is read for it."""
    by_class = [image_files(root, split) for split in SPLITS]
    return hash_states(root, (path for classes in by_class for paths in classes.values() for path in paths))


def read_image_folder(root: Path, name: str) -> Listing:
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
        splits[split] = _part(paths, labels, side)
    return Listing(classes, splits, f"image folder {root}")


def _part(paths: list[Path], labels: np.ndarray, side: int | None) -> Part:
    size = first_size(paths[0], str(paths[0]), side)
    return Part(labels, size, partial(decode_blocks, paths, size, lambda i: str(paths[i])))
