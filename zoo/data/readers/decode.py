"""What every reader of files needs: decoding pictures, checking what was decoded, one-line errors, hashing."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np

from zoo.data.cache import SPLITS, Decoded
from zoo.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

Row = TypeVar("Row")
# Bytes; a larger source is known by size, time and path, since reading it would take seconds.
_HASH_LIMIT = 1_000_000_000
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


def broken_image() -> tuple[type[Exception], ...]:
    """What Pillow raises for bytes that are no picture, or no whole one."""
    from PIL.Image import DecompressionBombError

    return (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, DecompressionBombError)


def rgb(image: Image, where: str) -> Image:
    """`image` turned as its EXIF data says, in RGB: transparency is dropped, 16 bits a channel become 8.

    Raises :class:`DataError`, beginning with `where`, for 32-bit pixels; see also :func:`broken_image`.
    """
    from PIL import Image

    # Pillow gives 16 bits of a PNG or PGM as 32, too.
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise DataError(f"{where}: 32-bit pixels have no fixed range; save it with 8 bits a channel")
    image.load()
    if (turn := _turn(image)) is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I"):  # Pillow would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def _turn(image: Image) -> Transpose | None:
    """The transposition that the EXIF tag Orientation asks for; None where there is none or it cannot be read."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # whatever is wrong with its tags, its pixels are good
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    return turns.get(orientation) if isinstance(orientation, int) else None


def decode_all(
    rows: Sequence[Row], open_row: Callable[[Row], Path | IO[bytes]], where: Callable[[int], str], side: int | None
) -> np.ndarray:
    """Decode pictures, large ones in threads (Pillow releases the interpreter while it decodes): (N, H, W, 3) uint8.

    `where(i)` names row i in a message. All pictures must be as large as the first one, which must be `side` square
    if `side` is given.
    """
    from PIL import Image

    broken = broken_image()

    def decode(i: int) -> np.ndarray:
        try:
            with Image.open(open_row(rows[i])) as image:
                return np.asarray(rgb(image, where(i)))
        except PermissionError as error:
            raise DataError(f"cannot read {where(i)}: {error.strerror}; check its permissions") from error
        except broken as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{where(i)}: damaged image ({short(reason)}); fetch the file again") from error

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


def short(text: str, limit: int = 120) -> str:
    """`text` without addresses of Python objects, cut to `limit` characters, for a message."""
    # Pillow prints the address of the stream it was given, which tells nobody anything.
    text = re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", " its bytes", text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def check_labels(labels: np.ndarray, count: int, where: str) -> None:
    """Raise DataError for the first label outside 0..count-1."""
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= count))):
        raise DataError(
            f"{where} row {wrong[0]}: label {labels[wrong[0]]} is outside 0..{count - 1} "
            f"({count} classes); correct the labels"
        )


def check(decoded: Decoded, name: str) -> Decoded:
    """Raise DataError where the class count or the image size is not what the name promises, or the splits differ."""
    wanted, side = expected(name)
    (train, labels), (test, test_labels) = (decoded.splits[split] for split in SPLITS)
    if wanted is not None and (wanted != len(decoded.classes) or len(np.unique(labels)) != wanted):
        count = len(np.unique(labels)) if wanted == len(decoded.classes) else len(decoded.classes)
        raise DataError(
            f"{decoded.source}: {count} classes, but {name!r} has {wanted}; rename the folder or mend its labels"
        )
    if train.shape[1:] != test.shape[1:]:
        sizes = " and ".join(f"{images.shape[2]}x{images.shape[1]}" for images in (train, test))
        raise DataError(f"{decoded.source}: train and test images differ in size ({sizes} pixels); resize them")
    if side is not None and train.shape[1:3] != (side, side):
        size = f"{train.shape[2]}x{train.shape[1]}"
        raise DataError(f"{decoded.source}: images of {size} pixels, but {name!r} has {side}x{side}; rename the folder")
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
