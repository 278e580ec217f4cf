"""Parquet files as the Hugging Face hub lays them out."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.cache import SPLITS, Decoded
from zoo.data.readers.decode import check_labels, decode_all, expected, readable, short
from zoo.errors import DataError, Option

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")


def parquet_files(root: Path) -> dict[str, list[Path]]:
    """Parquet files below `root` by split, by the start of the file's name or by its folder's name; empty if none.

    Raises DataError where a split lies in more than one folder, or a shard of "-of-N" is missing.
    """
    files: dict[str, list[Path]] = {}
    with readable(root):
        for path in sorted(root.rglob("*.parquet")):
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            for split in SPLITS:
                if re.match(rf"{split}([-_.]|$)", path.name) or (path.parent != root and path.parent.name == split):
                    files.setdefault(split, []).append(path)
                    break
    for split, paths in files.items():
        if len(folders := sorted({path.parent for path in paths})) > 1:
            raise DataError(
                f"{root}: {split} files in {folders[0]} and in {folders[1]}; name the one folder that is meant"
            )
        if (total := re.search(r"-of-(\d+)", paths[0].name)) and int(total[1]) != len(paths):
            raise DataError(f"{root}: {len(paths)} of {int(total[1])} {split} shards are there; fetch the missing ones")
    return files


def read_parquet(root: Path, name: str) -> Decoded:
    """A folder of train-*.parquet and test-*.parquet: image column `img` or `image` (struct of bytes and path, or plain
    bytes), label column `label`, `fine_label` or `labels`.

    Class names come from the hub's metadata in the file; without it they are CIFAR-10's for a name of that family, else
    the numbers.
    """
    files = parquet_files(root)
    for split in SPLITS:
        if split not in files:
            advice = "fetch that file, or pass another folder with "
            raise DataError(f"{root}: no {split}-*.parquet in it; {advice}", Option("data_dir"))
    _, side = expected(name)
    splits, names = {}, []
    for split in SPLITS:
        images, labels = [], []
        for path in files[split]:
            shard_images, shard_labels, shard_names = _read_shard(path, side)
            images.append(shard_images)
            labels.append(shard_labels)
            names.append(shard_names)
            if shard_images.shape[1:] != images[0].shape[1:]:
                sizes = " and ".join(f"{array.shape[2]}x{array.shape[1]}" for array in (images[0], shard_images))
                raise DataError(
                    f"{path}: its images and those of {files[split][0].name} differ in size ({sizes} pixels)"
                )
        splits[split] = (np.concatenate(images) if len(images) > 1 else images[0], np.concatenate(labels))
    if any(other != names[0] for other in names):
        raise DataError(f"{root}: its parquet files name different classes; fetch all of them from one version")
    return Decoded(_class_names(names[0], splits["train"][1], name, root), splits, f"parquet files in {root}")


def _class_names(names: tuple[str, ...] | None, labels: np.ndarray, name: str, root: Path) -> tuple[str, ...]:
    if names is not None:
        return names
    wanted, _ = expected(name)
    present = np.unique(labels)
    if wanted is None and (present[0] != 0 or present[-1] != len(present) - 1):
        raise DataError(f"{root}: train labels are {_runs(present)}, which are not 0..n-1 without a gap; renumber them")
    count = wanted or len(present)
    return CIFAR10_CLASSES if wanted == 10 else tuple(str(i) for i in range(count))


def _runs(present: np.ndarray) -> str:
    return ", ".join(map(str, present[:5])) + (", ..." if len(present) > 5 else "")


def _read_shard(path: Path, side: int | None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            image_column, label_column = _columns(path, file.schema_arrow)
            names = _hub_names(file.schema_arrow.metadata, label_column)
            table = file.read(columns=[image_column, label_column])
    except PermissionError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except (pa.ArrowException, OSError) as error:
        reason = short(str(error).splitlines()[0])
        raise DataError(f"{path}: truncated or corrupted parquet file ({reason}); fetch it again") from error
    if not table.num_rows:
        raise DataError(f"{path}: no rows in it; fetch it again")
    if names is None or len(names) == 0:
        names = None
    column = table[label_column]
    if not pa.types.is_integer(column.type):
        raise DataError(f"{path}: column {label_column!r} holds {column.type}, expected integers 0..n-1")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{path} row {row}: no label; correct the file")
    labels = column.to_numpy().astype(np.int64)
    if names is not None:
        check_labels(labels, len(names), str(path))
    pictures = table[image_column]
    if pa.types.is_struct(pictures.type):
        pictures = pa.chunked_array([chunk.field("bytes") for chunk in pictures.chunks])
    if pictures.null_count:
        row = pictures.is_null().to_pylist().index(True)
        raise DataError(f"{path} row {row}: no image bytes (a bare path is not enough); fetch the file with its images")
    images = decode_all(pictures.to_pylist(), io.BytesIO, lambda i: f"{path} row {i}", side)
    return images, labels, names


def _columns(path: Path, schema: Any) -> tuple[str, str]:
    chosen = []
    for kind, names in (("image", IMAGE_COLUMNS), ("label", LABEL_COLUMNS)):
        have = [name for name in names if name in schema.names]
        if not have:
            raise DataError(
                f"{path}: no {kind} column ({' or '.join(names)}) among {', '.join(schema.names)}; rename it"
            )
        chosen.append(have[0])
    import pyarrow as pa

    kind = schema.field(chosen[0]).type
    fields = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    if "bytes" not in fields and not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"{path}: column {chosen[0]!r} holds {kind}, expected encoded images (struct of bytes and path)"
        )
    return chosen[0], chosen[1]


def _hub_names(metadata: dict[bytes, bytes] | None, label_column: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label_column]["names"])
    except (KeyError, TypeError, ValueError):
        return None  # no such metadata, or none about the labels: the names are then made up from the numbers
