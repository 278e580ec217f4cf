"""Parquet files as the Hugging Face hub lays them out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.choice import Choice
from zoo.data.listing import SPLITS, Listing, Part, Size
from zoo.data.readers.decode import check_labels, decode_blocks, expected, first_size, listed, readable, short
from zoo.data.readers.parquet_files import ParquetFiles
from zoo.errors import DataError, Option
from zoo.utils.files import open_file
from zoo.utils.memory import usable_memory

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FINE = "fine_label"
# Of images and of labels: usual names, and how the hub's metadata calls such a column.
_COLUMNS = {"image": (("img", "image"), "Image"), "label": (("label", _FINE, "coarse_label", "labels"), "ClassLabel")}
_BATCH = 64  # rows that are read at once: a few bytes of a file can stand for any number of rows


def read_parquet(tables: ParquetFiles, name: str, choice: Choice) -> Listing:
    """The listing of the dataset `name` in those of `tables` that train and test: a column of images (struct of bytes
    and path, or plain bytes) and one of labels.

    Class names come from the hub's metadata in the file; without it they are CIFAR-10's for a name of that family, else
    the numbers.
    """
    (classes, side), root, files = expected(name), tables.root, tables.chosen(choice)
    fine = classes == 100  # of the two label columns that CIFAR-100 has, one has so many classes
    shards = {split: [_list_shard(path, choice, fine) for path in files[split]] for split in SPLITS}
    names = [shard.names for split in SPLITS for shard in shards[split]]
    if any(other != names[0] for other in names):
        raise DataError(f"{root}: its parquet files name different classes; fetch all of them from one version")
    splits = {split: _part(shards[split], side, choice.image_size) for split in SPLITS}
    labels = _class_names(names[0], splits["train"].labels, name, root)
    return Listing(labels, splits, tables.left_out(choice))


def _class_names(names: tuple[str, ...] | None, labels: np.ndarray, name: str, root: Path) -> tuple[str, ...]:
    if names is not None:
        return names
    wanted, _ = expected(name)
    present = np.unique(labels)
    if wanted is None and (present[0] != 0 or present[-1] != len(present) - 1):
        labels_there = listed(list(map(str, present)))
        raise DataError(f"{root}: train labels are {labels_there}, which are not 0..n-1 without a gap; renumber them")
    count = wanted or len(present)
    return CIFAR10_CLASSES if wanted == 10 else tuple(str(i) for i in range(count))


@dataclass(frozen=True)
class _Shard:
    """One file: its columns of images and of labels, its labels (N,) int64, the class names that it has."""

    path: Path
    columns: tuple[str, str]
    labels: np.ndarray
    names: tuple[str, ...] | None

    def where(self, row: int) -> str:
        """How a message names a row."""
        return f"{self.path} row {row}"

    def pictures(self) -> Iterator[bytes]:
        """The encoded images, a few rows at a time."""
        with _open(self.path) as file:
            for start, column in _cells(self.path, file, self.columns[0], len(self.labels)):
                if hasattr(column, "field"):
                    column = column.flatten()[column.type.get_field_index("bytes")]
                advice = "no image bytes (a bare path is not enough); fetch the file with its images"
                _check_complete(self.path, start, column, advice)
                yield from column.to_pylist()


def _part(shards: Sequence[_Shard], side: int | None, image_size: Size | None) -> Part:
    first = next(shards[0].pictures())
    size, sizes = first_size(first, shards[0].where(0), side, image_size), set[Size]()

    def blocks() -> Iterator[np.ndarray]:
        for shard in shards:
            yield from decode_blocks(shard.pictures(), size, shard.where, sizes if image_size else None)

    return Part(np.concatenate([shard.labels for shard in shards]), size, blocks, sizes)


def _list_shard(path: Path, choice: Choice, fine: bool) -> _Shard:
    with _open(path) as file:
        features = _hub_features(file.schema_arrow.metadata)
        if fine and choice.label_column is None and _FINE in file.schema_arrow.names:
            choice = replace(choice, label_column=_FINE)
        columns, count = _columns(path, file.schema_arrow, features, choice), file.metadata.num_rows
        names = _hub_names(features, columns[1])
        if count < 1:
            raise DataError(f"{path}: no rows in it; fetch it again")
        if 8 * count > (memory := usable_memory() // 8):
            raise DataError(f"{path}: {count:,} rows, more than the {memory // 8:,} whose labels fit into memory")
        labels = []
        for start, column in _cells(path, file, columns[1], count):
            _check_complete(path, start, column, "no label; correct the file")
            labels.append(column.to_numpy().astype(np.int64))
    every_label = np.concatenate(labels)
    if names is not None:
        check_labels(every_label, len(names), str(path))
    return _Shard(path, columns, every_label, names)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A parquet file, each page of which is checked."""
    import pyarrow.parquet as pq

    with readable(path), open_file(path) as stream, _whole(path):
        yield pq.ParquetFile(stream, page_checksum_verification=True)


def _cells(path: Path, file: Any, name: str, count: int) -> Iterator[tuple[int, Any]]:
    """The column `name` in batches, each with the number of its first row. There must be `count` rows."""
    start = 0
    for batch in file.iter_batches(_BATCH, columns=[name]):
        yield start, batch.column(name)
        start += len(batch)
        if start > count:
            break
    if start != count:
        raise DataError(f"{path}: damaged, its rows are not the {count} that it names; fetch it again")


def _check_complete(path: Path, start: int, column: Any, lacks: str) -> None:
    if column.null_count:
        raise DataError(f"{path} row {start + column.is_null().to_pylist().index(True)}: {lacks}")


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turns what Arrow raises for a damaged file into a :class:`DataError`."""
    try:
        yield
    except DataError:
        raise
    except Exception as problem:  # Arrow's own, OSError, UnicodeDecodeError of a name ...
        reason = short((str(problem).splitlines() or [type(problem).__name__])[0])
        raise DataError(f"{path}: truncated or corrupted parquet file ({reason}); fetch it again") from problem


def _columns(path: Path, schema: Any, features: dict[str, Any], choice: Choice) -> tuple[str, str]:
    """The image column and the label column, each there once and of the right type."""
    import pyarrow as pa

    asked = (choice.image_column, choice.label_column)
    image_name, label_name = (
        _column(path, kind, schema.names, features, name) for kind, name in zip(_COLUMNS, asked, strict=True)
    )
    image, label = (schema.field(name).type for name in (image_name, label_name))
    cells = image
    if pa.types.is_struct(image):
        cells = image.field("bytes").type if image.get_field_index("bytes") >= 0 else None
    if cells is None or not (pa.types.is_binary(cells) or pa.types.is_large_binary(cells)):
        kinds = f"{short(str(image))}, expected encoded images (struct of bytes and path)"
        raise DataError(f"{path}: column {image_name!r} holds {kinds}")
    if not pa.types.is_integer(label):
        raise DataError(f"{path}: column {label_name!r} holds {short(str(label))}, expected integers 0..n-1")
    return image_name, label_name


def _column(path: Path, kind: str, there: list[str], features: dict[str, Any], asked: str | None) -> str:
    """The name of the image or the label column: the one that was `asked` for, else the only one."""
    names, feature = _COLUMNS[kind]
    of_hub = [name for name in there if isinstance(part := features.get(name), dict) and part.get("_type") == feature]
    have = [asked] if asked in there else [name for name in dict.fromkeys(there) if name in (*names, *of_hub)]
    option = f"{kind}_column"
    if not have or (asked is not None and asked not in there):
        what = f"{' or '.join(names)}" if asked is None else asked
        raise DataError(
            f"{path}: no {kind} column ({what}) among {short(', '.join(there))}; name it with ", Option(option)
        )
    if len(have) > 1:
        raise DataError(
            f"{path}: {len(have)} {kind} columns ({short(', '.join(have))}); choose one with ", Option(option, have[0])
        )
    if there.count(have[0]) > 1:
        raise DataError(f"{path}: two columns are called {have[0]!r}; rename one")
    return have[0]


def _hub_features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What the hub's metadata in the file says of each column."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _hub_names(features: dict[str, Any], label_column: str) -> tuple[str, ...] | None:
    """The class names in the metadata; None where there are none: they are then made up from the numbers."""
    try:
        names = features[label_column]["names"]
    except (KeyError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None
