"""What zoo does not read: which format a file or a folder is in, and how its images come in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from zoo.data.readers.decode import readable
from zoo.errors import DataError, Option
from zoo.utils.text import visible

_ARCHIVE, _LOOSE = "an archive", "images outside class folders"
# By the name of a file; the first that fits says what it is.
_FORMATS = {
    "MNIST's IDX files": r".*[-.](ubyte|idx)(\.gz)?",
    _ARCHIVE: r".*\.(zip|tar|tgz|tbz2?|txz|7z|rar|tar\.(gz|bz2|xz|zst))",
    "NumPy arrays": r".*\.np[yz]",
    "MATLAB files": r".*\.mat",
    "CIFAR's binary files": r".*\.bin",
    "pickled objects": r".*\.(pkl|pickle|pck|pth?)|(data|test)_batch(_[0-9]+)?|train|test",
    "HDF5 files": r".*\.(h5|hdf5|he5)",
    "TFRecord files": r".*\.tfrecords?([-.].*)?",
    "Arrow files": r".*\.(arrow|feather)",
    "a table": r".*\.(csv|tsv|jsonl?|xlsx?)",
    _LOOSE: r".*\.(png|jpe?g|bmp|webp|p[pgbn]m|tiff?|gif)",
}
PAGE = '"Your own images" in the docs'


def refusal(path: Path) -> DataError:
    """The error for the file or the folder `path`, which is no dataset that zoo reads."""
    if path.suffix.lower() == ".parquet" and path.is_file():
        return DataError(f"{path}: is a file, and a dataset is a folder; name ", Option("dataset", str(path.parent)))
    expected = "train-*.parquet and test-*.parquet, or images in train/<class>/ and test/<class>/"
    state = "is a file, and a dataset is a folder of" if path.is_file() else "no dataset in it; expected"
    return known(path) or DataError(f"{path}: {state} {expected}")


def known(path: Path) -> DataError | None:
    """The error for a file, or for a folder by the files in it or one level below, in a known format."""
    with readable(path):
        files = [path] if path.is_file() else _files(path)
        files = files or [file for folder in sorted(path.iterdir()) if folder.is_dir() for file in _files(folder)]
    is_file = path.is_file()
    for kind, pattern in _FORMATS.items():
        names = [file.name for file in files if re.fullmatch(pattern, file.name, re.IGNORECASE)]
        if names and not (is_file and kind == _LOOSE):
            verb, which = (
                "is" if is_file and kind == _ARCHIVE else "holds",
                "" if is_file else f" ({visible(names[0])})",
            )
            return DataError(f"{path}: {verb} {kind}{which}; {_advice(kind)}")
    return None


def _files(folder: Path) -> Sequence[Path]:
    return [file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and file.is_file()]


def _advice(kind: str) -> str:
    if kind == _ARCHIVE:
        return "unpack it and name the folder that it makes"
    if kind == _LOOSE:
        return f"sort the images into train/<class>/ and test/<class>/, as {PAGE} shows"
    return f"write its images as an image folder or as parquet files, in three lines of Python that {PAGE} shows"
