"""Datasets that have test images only, from the user's own files: CIFAR-10.1, CIFAR-10-C and CIFAR-100-C.

CIFAR-10.1 (Recht, Roelofs, Schmidt, Shankar, "Do CIFAR-10 Classifiers Generalize to CIFAR-10?", arXiv:1806.00451) is
``cifar10.1_v6_data.npy`` and ``cifar10.1_v6_labels.npy``, or v4 where only that is there. CIFAR-10-C and CIFAR-100-C
(Hendrycks and Dietterich, arXiv:1903.12261) are one ``<corruption>.npy`` each, severities 1 to 5 one after the other,
and one ``labels.npy``. Nothing is copied or cached: the arrays are memory-mapped where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zoo.data.listing import Size, in_memory, to_size
from zoo.data.readers.decode import check_labels, readable
from zoo.data.readers.parquet import CIFAR10_CLASSES
from zoo.errors import DataError, Option, Words
from zoo.utils.files import open_file

DESCRIPTIONS = {
    "cifar10.1": "CIFAR-10.1: 2,000 new test images, test only (zoo evaluate)",
    "cifar10-c": "CIFAR-10-C: 10,000 test images in 5 severities of each corruption, test only (zoo evaluate)",
    "cifar100-c": "CIFAR-100-C: the same of CIFAR-100, test only (zoo evaluate)",
}
FOLDERS = {
    "cifar10.1": ("cifar10.1", "CIFAR-10.1", "CIFAR-10.1/datasets"),  # the last as in the authors' repository
    "cifar10-c": ("cifar10-c", "CIFAR-10-C"),
    "cifar100-c": ("cifar100-c", "CIFAR-100-C"),
}
VERSIONS = ("v6", "v4")  # of CIFAR-10.1: v6 is balanced, v4 has 2,021 images
SEVERITIES = 5
SIDE = 32
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_FINE.split())  # by number: their order is that of the alphabet


@dataclass(frozen=True)
class ShiftedSet:
    """A test-only set, opened; `source` is for people. `files` maps each corruption, or None where the images are not
    corrupted, to the file of its images; `labels`, (N,) int64, are equal for every corruption and severity. Images are
    resized to `size`, where given.
    """

    name: str
    classes: tuple[str, ...]
    source: str
    files: dict[str | None, Path] = field(repr=False)
    labels: np.ndarray = field(repr=False, compare=False)
    size: Size | None = None

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names, in order; empty for a set that is not corrupted."""
        return tuple(name for name in self.files if name is not None)

    def part(self, corruption: str | None = None, severity: int = 1) -> np.ndarray:
        """The images of one severity, 1 to 5: (N, 32, 32, 3) uint8, a read-only memory map; resized ones in memory.

        Raises DataError for a file that is damaged or of the wrong shape.
        """
        count = len(self.labels)
        images = _images(self.files[corruption], count * (SEVERITIES if corruption else 1))
        images = images[(severity - 1) * count : severity * count]
        if self.size is None:
            return images
        return np.concatenate(list(to_size(in_memory(images, self.labels), self.size).blocks()))


def canonical(name: str) -> str | None:
    """zoo's name of a test-only set (``CIFAR-10-C`` is ``cifar10-c``), None for any other name."""
    plain = name.lower().replace("cifar-", "cifar")
    return plain if plain in DESCRIPTIONS else None


def find(name: str, roots: Sequence[Path]) -> Path | None:
    """The first folder of `roots`, or root itself, that holds files of the set `name`."""
    for root in roots:
        own = [root] if canonical(root.name) == name else []
        for folder in [*(root / below for below in FOLDERS[name]), *own, *(path / "datasets" for path in own)]:
            if folder.is_dir() and any(folder.glob(_marks(name))):
                return folder
    return None


def kind(folder: Path) -> str | None:
    """Which set the files of `folder` are of; None where it holds none."""
    if any(folder.glob(_marks("cifar10.1"))):
        return "cifar10.1"
    return (canonical(folder.name) or "cifar10-c") if (folder / "labels.npy").is_file() else None


def hint(name: str, roots: Sequence[Path]) -> tuple[Words, ...]:
    """What to do where `name` is missing, as parts of a message."""
    files = (
        "cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy"
        if name == "cifar10.1"
        else "labels.npy and a <corruption>.npy for each corruption"
    )
    return f"put {files} into {roots[0] / FOLDERS[name][1]}, or set ZOO_DATA, or give ", Option("data_dir", "FOLDER")


def open_set(name: str, roots: Sequence[Path]) -> ShiftedSet:
    """The set `name` (one of :data:`DESCRIPTIONS`) in the first of `roots` that has it.

    Raises DataError, one line with the places searched and the files wanted, where it is missing or damaged.
    """
    with readable(roots[0]):
        folder = find(name, roots)
        if folder is None:
            places = " and ".join(map(str, roots))
            raise DataError(f"dataset {name!r} not found: looked in {places}; ", *hint(name, roots))
        return open_folder(folder, name)


def open_folder(folder: Path, name: str) -> ShiftedSet:
    """The set `name` in `folder` itself. Raises DataError as :func:`open_set` does."""
    return _open_corrupted(folder, name) if name.endswith("-c") else _open_new(folder, name)


def _marks(name: str) -> str:
    return "cifar10.1_v*.npy" if name == "cifar10.1" else "*.npy"


def _open_new(folder: Path, name: str) -> ShiftedSet:
    for version in VERSIONS:
        images, labels = (folder / f"{name}_{version}_{part}.npy" for part in ("data", "labels"))
        if not images.is_file() and not labels.is_file():
            continue
        for path in (images, labels):
            if not path.is_file():
                raise DataError(f"{path}: missing, though its other half is there; fetch both files again")
        return ShiftedSet(name, CIFAR10_CLASSES, f"{name} {version} in {folder}", {None: images}, _labels(labels, 10))
    raise DataError(f"{folder}: neither {name}_v6_data.npy nor {name}_v4_data.npy in it; fetch one, with its labels")


def _open_corrupted(folder: Path, name: str) -> ShiftedSet:
    classes = CIFAR10_CLASSES if name == "cifar10-c" else CIFAR100_CLASSES
    path = folder / "labels.npy"
    if not path.is_file():
        raise DataError(f"{path}: missing, so the images have no labels; fetch it again")
    labels = _labels(path, len(classes))
    count = len(labels) // SEVERITIES
    if not count or not np.array_equal(labels, np.tile(labels[:count], SEVERITIES)):
        raise DataError(
            f"{path}: {len(labels)} labels, expected those of the test images {SEVERITIES} times over, "
            "once for each severity; fetch it again"
        )
    files: dict[str | None, Path] = {file.stem: file for file in sorted(folder.glob("*.npy")) if file != path}
    if not files:
        raise DataError(f"{folder}: no <corruption>.npy beside labels.npy; fetch the images too")
    return ShiftedSet(name, classes, f"{name} in {folder}", files, labels[:count])


def _labels(path: Path, classes: int) -> np.ndarray:
    """(N,) int64, read-only."""
    labels = _load(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(f"{path}: {_form(labels)}, expected whole numbers (N,); fetch the file again")
    labels = labels.astype(np.int64)
    check_labels(labels, classes, str(path))
    labels.flags.writeable = False
    return labels


def _images(path: Path, count: int) -> np.ndarray:
    """(`count`, 32, 32, 3) uint8, mapped."""
    images = _load(path)
    if images.shape != (count, SIDE, SIDE, 3) or images.dtype != np.uint8:
        wanted = f"uint8 ({count}, {SIDE}, {SIDE}, 3), as there are labels"
        raise DataError(
            f"{path}: {_form(images)}, expected {wanted}; fetch the file again, or take it out of the folder"
        )
    return images


def _load(path: Path) -> np.ndarray:
    """One .npy file, memory-mapped; a file that holds pickled objects is refused."""
    with readable(path):
        open_file(path).close()  # a pipe would be waited for
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy raises whatever it meets in the header
            raise DataError(
                f"{path}: truncated, or not an array of numbers in NumPy's .npy format; fetch the file again"
            ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path}: an archive of arrays (.npz), expected one array (.npy); fetch the file again")
    return array


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
