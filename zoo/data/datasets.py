"""Datasets by name or path: ``load("cifar10-jpeg")``, ``load("shapes10")``, ``load("../my-images")``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from zoo.data import cache, shapes10, test_sets
from zoo.data.choice import NOTHING, Choice
from zoo.data.fetch import JPEG, JPEG_CLONES, JPEG_REPOSITORY, SOURCES, fetch
from zoo.data.listing import SPLITS, Listing, to_size
from zoo.data.readers import archive, decode, foreign, image_folder, parquet, parquet_files
from zoo.errors import DataError, Option, Words, unknown
from zoo.utils.files import reachable
from zoo.utils.memory import size
from zoo.utils.text import CONTROL, listed, visible

log = logging.getLogger("zoo")

DESCRIPTIONS = {
    "cifar10": "CIFAR-10, the original archive: 50,000 + 10,000 images of 32x32, 10 classes",
    "cifar100": "CIFAR-100, the original archive: 50,000 + 10,000 images of 32x32, 100 classes",
    "cifar10-jpeg": "CIFAR-10 recompressed as JPEG: not bit-identical to cifar10",
    "shapes10": "generated: 5,000 + 1,000 images of 32x32, 10 shapes, needs no files",
}


@dataclass(frozen=True)
class Split:
    """One split. `images`: (N, H, W, 3) uint8, a read-only memory map. `labels`: (N,) int64, read-only."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Dataset(cache.Entry):
    """A dataset, opened: its decoded copy, what it is called, and `source`, which is for people."""

    name: str
    source: str
    choice: Choice = NOTHING

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def train(self) -> Split:
        """The training split."""
        return self.split("train")

    @property
    def test(self) -> Split:
        """The test split."""
        return self.split("test")

    def count(self, name: str) -> int:
        """How many images the split `name` has; none is read."""
        return len(self.arrays[f"{name}_labels"])

    def images_by_class(self, name: str) -> list[int]:
        """How many images of each class the split `name` has; none is read."""
        counts: list[int] = np.bincount(self.arrays[f"{name}_labels"], minlength=self.num_classes).tolist()
        return counts

    @property
    def missing_classes(self) -> list[str]:
        """For each split that lacks images of some classes these, in words."""
        lines = []
        for name, words in (("train", "training"), ("test", "test")):
            counts = zip(self.classes, self.images_by_class(name), strict=True)
            if missing := [label for label, count in counts if not count]:
                lines.append(f"no {words} image in {len(missing):,} of {self.num_classes:,} classes: {listed(missing)}")
        return lines

    def split(self, name: str) -> Split:
        """The split "train" or "test". Both properties come through here."""
        if name not in SPLITS:
            raise unknown("split", name, SPLITS, f"dataset {self.name}", "there are 'train' and 'test'")
        return Split(self.arrays[f"{name}_images"], self.arrays[f"{name}_labels"])


@dataclass(frozen=True)
class Available:
    """A row of ``zoo data list``. `location` is "built in" for a generated set, None for one that is missing.

    `hint`, parts of a message, then says what to do.
    """

    name: str
    description: str
    location: str | None
    hint: tuple[Words, ...] = ()


@dataclass(frozen=True)
class _Undecoded:
    name: str
    source: str
    key: Callable[[], str]
    read: Callable[[], Listing]


def search_path(data_dir: str | Path | None = None) -> list[Path]:
    """Folders to search, first match wins: `data_dir` alone if given; else ``$ZOO_DATA``'s, then the user cache.

    Raises DataError where `data_dir` is no folder.
    """
    if data_dir is not None:
        with reachable(data_dir, DataError):
            root = Path(data_dir).expanduser().absolute()
            if not root.is_dir():
                state = "no folder" if root.exists() else "not there"
                raise DataError(Option("data_dir", str(root)), f" is {state}; name a folder")
        return [root]
    roots = [Path(root).expanduser().absolute() for root in os.environ.get("ZOO_DATA", "").split(os.pathsep) if root]
    return [*roots, cache.user_cache() / "data"]


def load(name: str, data_dir: str | Path | None = None, choice: Choice = NOTHING) -> Dataset:
    """Open a dataset by name, or by the path of a folder (hub-style parquet, or images in class folders).

    `choice` is what such a folder leaves open; an option that the dataset has no use for is an error.

    Decoded on first use, when a line is logged where classes have no image, then memory-mapped from the cache, whose
    checksums are compared on every load.
    Raises UnknownNameError for a name that is nowhere, DataError for one that is missing, damaged or of the wrong kind
    (of test images only, for instance: :mod:`zoo.data.test_sets`).
    """
    with decode.readable(Path(name)):
        undecoded = _resolve(name, data_dir, choice)
        key = hashlib.sha256(f"{undecoded.key()} {choice!a}".encode()).hexdigest()

    def read() -> Listing:
        listing = decode.check(undecoded.read(), undecoded.name, undecoded.source)
        if (wanted := choice.image_size) is None:
            return listing
        return replace(listing, splits={split: to_size(part, wanted) for split, part in listing.splits.items()})

    entry = cache.open_or_build(undecoded.name, undecoded.source, key, read)
    dataset = Dataset(name=undecoded.name, source=undecoded.source, choice=choice, **vars(entry))
    for words in dataset.missing_classes if dataset.fresh else ():
        log.warning("%s: %s", dataset.name, visible(words))
    return dataset


def available(data_dir: str | Path | None = None) -> list[Available]:
    """The named datasets, then every folder of the search path that looks like one. Reads no data and no torch."""
    roots = search_path(data_dir)
    with decode.readable(roots[0]):
        return _available(roots)


def _available(roots: list[Path]) -> list[Available]:
    rows = []
    for name, description in DESCRIPTIONS.items():
        if name == "shapes10":
            rows.append(Available(name, description, "built in"))
        elif name in archive.ARCHIVES:
            rows.append(_row(name, description, archive.find_archive(name, roots), _hint(name, roots)))
        else:
            rows.append(_row(name, description, _find_folder(name, roots), _hint(name, roots)))
    for name, description in test_sets.DESCRIPTIONS.items():
        rows.append(_row(name, description, test_sets.find(name, roots), test_sets.hint(name, roots)))
    return rows + [
        Available(name, f"{_kind(folder)} folder", str(folder)) for name, folder in _other_folders(roots).items()
    ]


def _row(name: str, description: str, path: Path | None, hint: tuple[Words, ...]) -> Available:
    return Available(name, description, str(path)) if path else Available(name, description, None, hint)


def _resolve(name: str, data_dir: str | Path | None, choice: Choice) -> _Undecoded:
    roots = search_path(data_dir)
    if test_only := test_sets.canonical(name):
        raise DataError(
            f"dataset {name!r} has test images only, nothing to train on; `zoo evaluate RUN ",
            Option("dataset", test_only), "` evaluates a finished run on it",
        )  # fmt: skip
    if name == "shapes10" or name in archive.ARCHIVES:
        choice.refuse(f"{name} has splits and labels of its own")
    if name == "shapes10":
        # The code is the source: a change of it must not meet images that the old code drew.
        return _Undecoded(
            name, "generated by zoo", partial(archive.archive_key, Path(shapes10.__file__)), shapes10.generate
        )
    if name in archive.ARCHIVES:
        return _archive(name, roots, may_download=data_dir is None)
    if _is_path(name):
        with reachable(name, DataError):
            path = Path(name).expanduser().absolute()
            if not path.exists():
                raise DataError(
                    f"dataset {name!r}: {path} does not exist; name a folder of parquet files or class folders"
                )
        return _folder(_own_name(path), path, choice)
    if folder := _find_folder(name, roots):
        return _folder(name, folder, choice)
    if name in DESCRIPTIONS:
        raise DataError(f"dataset {name!r} not found: looked in {_join(roots)}; ", *_hint(name, roots))
    if (path := Path(name).absolute()).exists():
        return _folder(_own_name(path), path, choice)
    names = [*DESCRIPTIONS, *_other_folders(roots)]
    raise unknown("dataset", name, names, _join(roots), f"there are {', '.join(names)}; or give the path of a folder")


def _is_path(name: str) -> bool:
    return os.sep in name or "/" in name or name.startswith(("~", ".")) or Path(name).is_absolute()


def _own_name(path: Path) -> str:
    """A folder's name; never that of a set which is something else (only the checked archive is `cifar10`)."""
    name = path.resolve().name
    return f"{name}-folder" if name in archive.ARCHIVES or name == "shapes10" else name


def _find_folder(name: str, roots: list[Path]) -> Path | None:
    names = (name, *JPEG_CLONES) if name == JPEG else (name,)
    places = [
        place for root in roots for own in names for place in ((root / own), *([root] if root.name == own else []))
    ]
    return next((place for place in places if place.is_dir()), None)


def _other_folders(roots: list[Path]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for root in roots:
        for path in sorted(root.iterdir()) if root.is_dir() and os.access(root, os.R_OK | os.X_OK) else ():
            named = path.name in DESCRIPTIONS or path.name in JPEG_CLONES
            if path.is_dir() and not named and path.name not in folders and _kind(path):
                folders[path.name] = path
    return folders


def _kind(path: Path) -> str | None:
    """ "parquet", "image" or None. Damage is not reported here: a list must not fail because of one bad folder."""
    try:
        if parquet_files.find_parquet(path).splits:
            return "parquet"
        return "image" if "train" in image_folder.split_folders(path) else None
    except (DataError, OSError):
        return None


def _folder(name: str, path: Path, choice: Choice) -> _Undecoded:
    if not path.is_dir():
        raise foreign.refusal(path)
    if not name or CONTROL.search(name):
        raise DataError(f"{path}: results cannot hold this folder's name ({name!r}); rename the folder")
    tables = parquet_files.find_parquet(path)
    if tables.splits and image_folder.has_images(path):
        raise DataError(f"{path}: has parquet files of splits and class folders of images; move one of them elsewhere")
    if not tables.splits and (images := image_folder.find_images(path, choice)):
        choice.refuse(f"{path}: an image folder has no columns", "image_column", "label_column")
        return _Undecoded(name, f"image folder {path}", images.key, partial(images.read, name, choice.image_size))
    if not tables.splits and not tables.others:
        raise foreign.refusal(path)
    choice.refuse(f"{path}: parquet files have splits of their own", "split")
    read = partial(parquet.read_parquet, tables, name, choice)
    return _Undecoded(name, f"parquet files in {path}", partial(tables.key, choice), read)


def _archive(name: str, roots: list[Path], may_download: bool) -> _Undecoded:
    path = archive.find_archive(name, roots)
    if path is None and not may_download:
        raise DataError(f"dataset {name!r} not found: looked in {_join(roots)}; ", *_hint(name, roots))
    if path is None:
        path = fetch(name, roots[-1], None, log.warning)
    key, read = partial(archive.archive_key, path), partial(archive.read_archive, path, name)
    return _Undecoded(name, f"CIFAR archive {path}", key, read)


def _hint(name: str, roots: list[Path]) -> tuple[Words, ...]:
    what = SOURCES[name].file if name in archive.ARCHIVES else f"its parquet files or a clone of {JPEG_REPOSITORY}"
    nearest = f"{JPEG}, which is there" if _find_folder(JPEG, roots) else "shapes10, which needs no files"
    fetched = f"`zoo data fetch {name}` downloads {size(SOURCES[name].bytes)}"
    put = f"{fetched}; or put {what} into {roots[0]}, or set ZOO_DATA, or give "
    return put, Option("data_dir", "FOLDER"), f"; or use {nearest}" if name != JPEG else ""


def _join(roots: list[Path]) -> str:
    return " and ".join(str(root) for root in roots)
