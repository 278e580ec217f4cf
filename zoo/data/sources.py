"""Readers: from files as people have them to whole arrays. Each raises DataError with the file and the row at fault.

Only torchvision's CIFAR reader unpickles, and only files whose published MD5 it has checked; nothing else here does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.cache import SPLITS, Decoded, user_cache
from zoo.errors import DataError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"}
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")
_HASH_LIMIT = (
    1_000_000_000  # bytes; a larger source is known by size, time and path, since reading it would take seconds
)
_BATCH = 256  # images per piece of work
_SMALL = 64 * 64  # pixels; below it, two threads took twice the time of one to hand the interpreter to each other


def expected(name: str) -> tuple[int | None, int | None]:
    """(number of classes, image side in pixels) that a data set's name promises; None where it promises nothing."""
    family = re.match(r"cifar(100?)(?=$|[-_.])", name)
    return (int(family[1]), 32) if family else (None, None)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns an OSError inside into a DataError that names the file, or `path` where the error names none."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise DataError(
            f"cannot read {where}: {error.strerror or error}; check that it exists and its permissions"
        ) from error


# --- pictures ---------------------------------------------------------------------------------------------------------


def _decode_all(
    rows: Sequence[Any], open_row: Callable[[Any], Any], where: Callable[[int], str], side: int | None
) -> np.ndarray:
    """Decode pictures, large ones in threads (Pillow releases the interpreter while it decodes): (N, H, W, 3) uint8.

    `where(i)` names row i in a message. All pictures must be as large as the first one, which must be `side` square
    if `side` is given.
    """
    from PIL import Image

    broken = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

    def decode(i: int) -> np.ndarray:
        try:
            with Image.open(open_row(rows[i])) as image:
                return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except PermissionError as error:
            raise DataError(f"cannot read {where(i)}: {error.strerror}; check its permissions") from error
        except broken as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{where(i)}: damaged image ({_short(reason)}); fetch the file again") from error

    first = decode(0)
    shape = (side, side, 3) if side else first.shape
    images = np.empty((len(rows), *shape), dtype=np.uint8)

    def work(start: int) -> None:
        for i in range(start, min(start + _BATCH, len(rows))):
            image = decode(i)
            if image.shape != shape:
                size, wanted = (f"{s[1]}x{s[0]} pixels" for s in (image.shape, shape))
                rule = "the name of the data set promises" if side else "the first image has"
                raise DataError(
                    f"{where(i)}: image of {size}, but {rule} {wanted}; all must have one size, resize them"
                )
            images[i] = image

    threads = 1 if shape[0] * shape[1] < _SMALL else min(16, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        for _ in pool.map(work, range(0, len(rows), _BATCH)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images


def _short(text: str, limit: int = 120) -> str:
    # Pillow prints the address of the stream it was given, which tells nobody anything.
    text = re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", " its bytes", text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def check_labels(labels: np.ndarray, count: int, where: str, row: Callable[[int], str] | None = None) -> None:
    """Raise DataError for the first label outside 0..count-1."""
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= count))):
        at = row(int(wrong[0])) if row else f"{where} row {wrong[0]}"
        raise DataError(
            f"{at}: label {labels[wrong[0]]} is outside 0..{count - 1} ({count} classes); correct the labels"
        )


def check(decoded: Decoded, name: str) -> Decoded:
    """Raise DataError where the class count or the image size is not what the name promises, or the splits differ."""
    wanted, side = expected(name)
    (train, labels), (test, test_labels) = (decoded.splits[split] for split in SPLITS)
    if wanted is not None and (wanted != len(decoded.classes) or len(np.unique(labels)) != wanted):
        have = len(np.unique(labels)) if wanted == len(decoded.classes) else len(decoded.classes)
        raise DataError(
            f"{decoded.source}: {have} classes, but {name!r} has {wanted}; rename the folder or mend its labels"
        )
    if train.shape[1:] != test.shape[1:]:
        sizes = " and ".join(f"{images.shape[2]}x{images.shape[1]}" for images in (train, test))
        raise DataError(f"{decoded.source}: train and test images differ in size ({sizes} pixels); resize them")
    if side is not None and train.shape[1:3] != (side, side):
        have = f"{train.shape[2]}x{train.shape[1]}"
        raise DataError(f"{decoded.source}: images of {have} pixels, but {name!r} has {side}x{side}; rename the folder")
    check_labels(labels, len(decoded.classes), "train")
    check_labels(test_labels, len(decoded.classes), "test")
    return decoded


def hash_files(root: Path, paths: Sequence[Path]) -> str:
    """SHA-256 (hex) over names and bytes of files; over size, time and path where they are over 1 GB together."""
    digest = hashlib.sha256()
    with readable(root):
        large = sum(path.stat().st_size for path in paths) > _HASH_LIMIT
        for path in paths:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            if large:
                stat = path.stat()
                digest.update(f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}".encode())
            else:
                with path.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


# --- parquet, as the Hugging Face hub lays it out ---------------------------------------------------------------------


def parquet_files(root: Path) -> dict[str, list[Path]]:
    """Parquet files below `root` by split, by the start of the file's name or by its folder's name; empty if none.

    Raises DataError where a split lies in more than one folder, or a shard of "-of-N" is missing.
    """
    found: dict[str, list[Path]] = {}
    with readable(root):
        for path in sorted(root.rglob("*.parquet")):
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            for split in SPLITS:
                if re.match(rf"{split}([-_.]|$)", path.name) or (path.parent != root and path.parent.name == split):
                    found.setdefault(split, []).append(path)
                    break
    for split, paths in found.items():
        if len(folders := sorted({path.parent for path in paths})) > 1:
            raise DataError(
                f"{root}: {split} files in {folders[0]} and in {folders[1]}; name the one folder that is meant"
            )
        if (total := re.search(r"-of-(\d+)", paths[0].name)) and int(total[1]) != len(paths):
            raise DataError(f"{root}: {len(paths)} of {int(total[1])} {split} shards are there; fetch the missing ones")
    return found


def read_parquet(root: Path, name: str) -> Decoded:
    """A folder of train-*.parquet and test-*.parquet: image column `img` or `image` (struct of bytes and path, or plain
    bytes), label column `label`, `fine_label` or `labels`.

    Class names come from the hub's metadata in the file; without it they are CIFAR-10's for a name of that family, else
    the numbers.
    """
    files = parquet_files(root)
    for split in SPLITS:
        if split not in files:
            raise DataError(
                f"{root}: no {split}-*.parquet in it; fetch that file, or pass another folder with --data-dir"
            )
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
        reason = _short(str(error).splitlines()[0])
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
    images = _decode_all(pictures.to_pylist(), io.BytesIO, lambda i: f"{path} row {i}", side)
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


# --- a folder of pictures ---------------------------------------------------------------------------------------------


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
                    line = f"{path.relative_to(root).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
                    digest.update(line.encode())
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
        labels = np.array([classes.index(c) for c, folder in by_class[split].items() for _ in folder], dtype=np.int64)
        images = _decode_all(paths, lambda path: path, lambda i, paths=paths: str(paths[i]), side)
        splits[split] = (images, labels)
    return Decoded(classes, splits, f"image folder {root}")


# --- CIFAR's own archives, read by torchvision ------------------------------------------------------------------------

ARCHIVES = {  # name: (archive, the folder it unpacks to)
    "cifar10": ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-python.tar.gz", "cifar-100-python"),
}


def _reader(name: str) -> Any:
    import torchvision

    return torchvision.datasets.CIFAR10 if name == "cifar10" else torchvision.datasets.CIFAR100


def find_archive(name: str, roots: Sequence[Path]) -> Path | None:
    """The unpacked folder or the archive of `name` in the first of `roots` (or its subfolder `name`) that has one."""
    archive, folder = ARCHIVES[name]
    for root in roots:
        for place in (root, root / name):
            for path in (place / folder, place / archive):
                if path.exists():
                    return path
    return root if (root := next((r for r in roots if r.name == folder and r.is_dir()), None)) else None


def archive_key(path: Path) -> str:
    """Hash over the bytes of an archive, or of every file of the unpacked folder."""
    if path.is_dir():
        with readable(path):
            return hash_files(path, sorted(p for p in path.iterdir() if p.is_file()))
    return hash_files(path.parent, [path])


def read_archive(path: Path, name: str) -> Decoded:
    """`path` is the archive or the folder it unpacks to; torchvision checks the MD5 of each file before it is read."""
    if path.is_dir():
        return _read_unpacked(path, name)
    from torchvision.datasets.utils import check_integrity, extract_archive

    with readable(path):
        good = check_integrity(path, _reader(name).tgz_md5)
    if not good:
        raise DataError(
            f"{path}: truncated or corrupted (its MD5 is not {_reader(name).tgz_md5}); delete it and fetch it again"
        )
    parent = user_cache() / "decoded"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".extract-", dir=parent) as temporary:
            extract_archive(str(path), temporary)
            return _read_unpacked(Path(temporary) / ARCHIVES[name][1], name, path)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"cannot unpack {path} into {parent} ({reason}); 190 MB are needed, set ZOO_CACHE elsewhere"
        ) from error


def _read_unpacked(folder: Path, name: str, shown: Path | None = None) -> Decoded:
    splits = {}
    reader = _reader(name)
    with readable(folder):
        for split in SPLITS:
            try:
                data = reader(folder.parent, train=split == "train", download=False)
            except RuntimeError as error:  # torchvision's word for a file that is missing or has another MD5
                bad = _first_bad(folder, reader)
                raise DataError(
                    f"{bad}: missing, truncated or corrupted (MD5); delete {folder} and fetch it again"
                ) from error
            splits[split] = (np.ascontiguousarray(data.data), np.array(data.targets, dtype=np.int64))
    return Decoded(tuple(data.classes), splits, f"CIFAR archive {shown or folder}")


def _first_bad(folder: Path, reader: Any) -> Path:
    from torchvision.datasets.utils import check_integrity

    files = [*reader.train_list, *reader.test_list, [reader.meta["filename"], reader.meta["md5"]]]
    return next((folder / file for file, md5 in files if not check_integrity(folder / file, md5)), folder)


def download_archive(name: str, into: Path) -> Path:
    """Fetch the archive of `name` with torchvision's checksum; it appears under its name only when it is whole.

    Raises OSError or RuntimeError (torchvision's word for a wrong checksum) as torchvision does.
    """
    import socket

    from torchvision.datasets.utils import download_url

    archive, _ = ARCHIVES[name]
    into.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # torchvision sets none, and would wait for ever behind a silent firewall
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as temporary:
            download_url(_reader(name).url, temporary, archive, _reader(name).tgz_md5)
            (Path(temporary) / archive).replace(into / archive)
    finally:
        socket.setdefaulttimeout(before)
    return into / archive
