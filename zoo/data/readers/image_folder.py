"""A folder of images: train/<class>/* and test/<class>/*, or <class>/* alone."""

from __future__ import annotations

import hashlib
import math
import os
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from zoo.data.choice import NAMES, Choice, splits_for
from zoo.data.listing import Listing, Part, Size
from zoo.data.readers import foreign
from zoo.data.readers.decode import decode_blocks, expected, first_size, hash_states, listed, readable
from zoo.errors import DataError, Option
from zoo.utils.text import visible

IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif",
}  # fmt: skip
# What systems leave behind; so are names that begin with a dot.
_LEFTOVERS = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "@eadir"}
_LIKE_A_SPLIT = re.compile("(train|test|val|valid|dev)(ing|ation|elopment)?([-_ .0-9].*)?", re.IGNORECASE)
_PLAIN = re.compile(r"\.[a-z0-9]{1,10}")


@dataclass(frozen=True)
class ImageFolder:
    """Which files train and test: `files` has, by "train" and "test", their paths below `places`, "<class>/<name>" with
    "/" on every system. `left_out` counts what is not read, by suffix or by folder.
    """

    root: Path
    places: dict[str, Path]
    files: dict[str, list[str]]
    left_out: Counter[str]

    def key(self) -> str:
        """What identifies the content in the cache; no image is read for it."""
        digest = hashlib.sha256(ascii(sorted(self.left_out.items())).encode())
        for split, names in self.files.items():
            digest.update(f"{split} {hash_states(self.root, (self.places[split] / name for name in names))}".encode())
        return digest.hexdigest()

    def read(self, name: str, image_size: Size | None) -> Listing:
        """The listing of the dataset `name`; classes are the names of the folders that train, sorted.

        Images are resized to `image_size`, if given. Rows are in an order that depends on the names alone: sorted as
        text, then shuffled.
        """
        _, side = expected(name)
        classes = sorted({_class_of(file) for file in self.files["train"]})
        numbers = {label: number for number, label in enumerate(classes)}
        splits = {}
        for split, files in self.files.items():
            rows = sorted(files)
            random.Random(0).shuffle(rows)
            labels = np.array([numbers[_class_of(file)] for file in rows], dtype=np.int64)
            splits[split] = _part([self.places[split] / file for file in rows], labels, side, image_size)
        return Listing(tuple(classes), splits, self.left_out)


def _part(paths: list[Path], labels: np.ndarray, side: int | None, image_size: Size | None) -> Part:
    size, sizes = first_size(paths[0], str(paths[0]), side, image_size), set[Size]()
    seen = sizes if image_size else None
    return Part(labels, size, partial(decode_blocks, paths, size, lambda i: str(paths[i]), seen), sizes)


def find_images(root: Path, choice: Choice) -> ImageFolder | None:
    """The images below `root`, by split; None where there are neither split folders nor class folders.

    Raises DataError where a split or a class is missing, and where the choice does not fit.
    """
    with readable(root):
        splits, others = split_folders(root), _others(root)
        if splits == ["train"] and "train" in split_folders(root / "train"):
            raise _inner(root, "train")
        if choice.split is not None and splits not in ([], ["train"]):
            choice.refuse(f"{root}: has the splits {' and '.join(splits)}", "split")
        if choice.split is not None or not splits:
            return _divided(root, root / "train" if splits else root, choice)
        if splits == ["train"] and choice.test_split == "test":
            has = f"only train ({listed(others)}: no split's name); rename one to test, or" if others else "only train;"
            raise DataError(
                f"{root}: no test split in it, {has} to keep a part of each class for the test give ",
                Option("split", "0.8"),
            )
        names = splits_for(root, splits, choice, listed(others))
        places = {split: root / name for split, name in names.items()}
        left_out: Counter[str] = Counter()
        by_class = {split: _images(place, left_out) for split, place in places.items()}
        _check(places, by_class)
        left_out += _count_splits(root, names.values())
        files = {split: [name for names in classes.values() for name in names] for split, classes in by_class.items()}
        return ImageFolder(root, places, files, +left_out)


def split_folders(root: Path) -> list[str]:
    """The splits of `root` whose folders have class folders."""
    return [name for name in NAMES if (root / name).is_dir() and any(entry.is_dir() for entry in _visible(root / name))]


def _others(root: Path) -> list[str]:
    """The folders in `root` that have folders or images, and no split's name."""
    folders = (Path(entry.path) for entry in _visible(root) if entry.is_dir() and entry.name not in NAMES)
    return sorted(path.name for path in folders if any(e.is_dir() or is_image(e.name) for e in _visible(path)))


def _count_splits(root: Path, used: Collection[str]) -> Counter[str]:
    """The images in folders of `root` that are splits by their names, or nearly, and not `used`."""
    names = [entry.name for entry in _visible(root) if entry.is_dir() and _LIKE_A_SPLIT.fullmatch(entry.name)]
    return Counter({visible(f"{name}/"): sum(map(is_image, walk(root / name))) for name in names if name not in used})


def _inner(root: Path, folder: str) -> DataError:
    name = Option("dataset", str(root / folder))
    return DataError(f"{root}: no dataset itself, but its folder {folder} is; name ", name)


def has_images(root: Path) -> bool:
    """Whether class folders in a split's folder have images."""
    return any("/" in name and is_image(name) for split in split_folders(root) for name in walk(root / split))


def _divided(root: Path, place: Path, choice: Choice) -> ImageFolder | None:
    """The class folders in `place`, each divided by the names of its files."""
    left_out: Counter[str] = Counter()
    by_class = {label: names for label, names in _images(place, left_out).items() if names}
    like_splits = [label for label in by_class if _LIKE_A_SPLIT.fullmatch(label)]
    if len(like_splits) > 1:
        loose = foreign.known(place / "train") if "train" in like_splits else None
        raise loose or DataError(
            f"{root}: the folders {listed(like_splits)} are no splits by their names; rename them to train and test"
        )
    if inner := [label for label in by_class if split_folders(place / label)]:
        raise _inner(root, inner[0])
    if len(by_class) == 1:
        (only,) = by_class
        raise foreign.known(place) or DataError(
            f"{place}: one folder of images ({only}), and a classifier needs two classes or more; if the folders in it "
            "are the classes, name ",
            Option("dataset", str(place / only)),
        )
    if not by_class:
        choice.refuse(f"{root}: has no class folders to divide", "split")
        return None
    for label, names in by_class.items():
        folders = {name.split("/")[1] for name in names if name.count("/") > 1}
        if "train" in folders and (tests := sorted(folders & set(NAMES[1:]))):
            raise DataError(
                f"{root}: has splits inside its classes ({label}/train, {label}/{tests[0]}); sort the images into "
                "train/<class>/ and test/<class>/"
            )
    if choice.split is None:
        raise DataError(
            f"{root}: {len(by_class):,} class folders ({listed(list(by_class))}) without train and test; "
            "to train on 80 % of each class and test on the rest give ",
            Option("split", "0.8"),
        )
    choice.refuse(f"{root}: has no splits", "test_split")
    if place != root:
        left_out += _count_splits(root, ["train"])
    files: dict[str, list[str]] = {"train": [], "test": []}
    for names in by_class.values():
        ordered = sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        count = max(1, min(math.floor(choice.split * len(names) + 0.5), len(names) - 1))
        files["train"] += ordered[:count]
        files["test"] += ordered[count:]
    if not files["test"]:
        raise DataError(f"{root}: each class has a single image, so none is left for the test; add images")
    return ImageFolder(root, {"train": place, "test": place}, files, +left_out)


def _check(places: dict[str, Path], by_class: dict[str, dict[str, list[str]]]) -> None:
    """Raise DataError where a class has no image to train on, or the test has none at all."""
    train, test = by_class["train"], by_class["test"]
    if extra := sorted(set(test) - set(train)):
        same = next((label for label in train if _alike(label) == _alike(extra[0])), None)
        advice = f"its {same!a} differs only in case or in the bytes of its letters: rename one"
        raise DataError(
            f"{places['test'] / extra[0]}: a class that {places['train']} does not have; "
            + (advice if same else f"{len(train)} are there")
        )
    if empty := [label for label, names in train.items() if not names]:
        raise DataError(f"{places['train'] / empty[0]}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if len(train) < 2:
        raise DataError(f"{places['train']}: one class folder ({', '.join(train)}); a classifier needs two or more")
    if not any(test.values()):
        raise DataError(f"{places['test']}: no images in its class folders ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _images(folder: Path, left_out: Counter[str]) -> dict[str, list[str]]:
    """The paths below `folder` of the images of each class folder, sub-folders included.

    What else is in class folders, and images outside them, is counted.
    """
    by_class: dict[str, list[str]] = {entry.name: [] for entry in _visible(folder) if entry.is_dir()}
    for name in walk(folder):
        if is_image(name) and "/" in name:
            by_class[_class_of(name)].append(name)
        elif is_image(name) or "/" in name:
            left_out[suffix if _PLAIN.fullmatch(suffix := _suffix(name)) else "other files"] += 1
    return dict(sorted(by_class.items()))


def walk(folder: Path, prefix: str = "", above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """The files below `folder` as paths with "/", through links too, each folder once on the way down."""
    status = folder.stat()
    if (here := (status.st_dev, status.st_ino)) in above:
        return  # a link that leads back
    for entry in _visible(folder):
        if entry.is_dir():
            yield from walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, here))
        else:
            yield f"{prefix}{entry.name}"


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in `folder`, leftovers of systems aside."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.name[0] != "." and entry.name.casefold() not in _LEFTOVERS)


def _alike(label: str) -> str:
    return unicodedata.normalize("NFC", label).casefold()


def _class_of(name: str) -> str:
    return name.partition("/")[0]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a million names


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image of a dataset."""
    return _suffix(name) in IMAGE_SUFFIXES
