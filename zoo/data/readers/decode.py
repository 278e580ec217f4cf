"""What every reader of files needs: decoding pictures, checking what was decoded, one-line errors, hashing."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import io
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.listing import SPLITS, Listing, Size, in_words, resized
from zoo.errors import DataError
from zoo.utils.files import open_file
from zoo.utils.memory import usable_memory
from zoo.utils.text import CONTROL

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF")  # of pictures, whatever their files are called
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16B", "I;16L", "I;16N"}
CLASSES = 10_000  # confusions are counted for each pair
PIXELS = 120_000_000  # of one picture; cameras of 108 million exist
RESIZE = "all must have one size; the recipe key image_size resizes them as they are decoded, as in image_size: 64"
_HASH_LIMIT = 1_000_000_000  # bytes; a larger source is not read for its key, which would take seconds
_BATCH, _BLOCK = 256, 1 << 24  # images, and bytes of them, per piece of work
_SMALL = 64 * 64  # pixels; below it, two threads took twice the time of one to hand the interpreter to each other


def expected(name: str) -> tuple[int | None, int | None]:
    """(number of classes, image side in pixels) that a dataset's name promises; None where it promises nothing."""
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's warnings, of which many are about pictures that it reads all the same, are not shown in the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.cache
def _hush() -> None:
    """What Pillow and its libtiff log of a file goes to stderr by default, beside zoo's one line."""
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with suppress(OSError, AttributeError):  # where libtiff is no library of its own
        libtiff = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__)
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)


def picture(source: Path | bytes, where: str) -> Image:
    """The picture in a file, or of these bytes, turned as its EXIF data says, in RGB.

    Transparency is dropped, 16 bits a channel become 8. Raises :class:`DataError`, beginning with `where`, for what is
    no picture of :data:`FORMATS`, no whole one, or too large.
    """
    with _quiet():
        return _picture(source, where, PIXELS)


def _picture(source: Path | bytes, where: str, limit: int, size: Size | None = None) -> Image:
    """As :func:`picture`, of at most `limit` pixels and of `size`, turned or not. Pillow's EPS starts Ghostscript."""
    from PIL import Image, UnidentifiedImageError

    _hush()
    with (
        readable(Path(where)),
        io.BytesIO(source) if isinstance(source, bytes) else open_file(source) as stream,
        _whole(where),
    ):
        try:
            image = Image.open(stream, formats=FORMATS)
        except UnidentifiedImageError as problem:
            kinds = ", ".join(FORMATS)
            raise DataError(f"{where}: is no image that can be read ({kinds}); save it as PNG") from problem
        except Image.DecompressionBombError as problem:  # of far more pixels than this
            raise DataError(f"{where}: image of more than the {PIXELS:,} pixels that fit; resize it") from problem
        with image:
            if size and sorted(image.size) != sorted(size):
                raise _other_size(where, image, size)
            if image.width * image.height > limit:
                pixels = f"{image.width}x{image.height}"
                raise DataError(f"{where}: image of {pixels} pixels, more than the {limit:,} that fit; resize it")
            return _rgb(image, where)


def _other_size(where: str, image: Image, size: Size) -> DataError:
    own = f"{image.width}x{image.height}"
    return DataError(f"{where}: image of {own} pixels, but the first image has {in_words(size)}; {RESIZE}")


@contextmanager
def _whole(where: str) -> Iterator[None]:
    """Turns what Pillow raises for a damaged picture, which may be anything, into a :class:`DataError`."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DataError(f"{where}: damaged image ({short(reason)}); fetch the file again") from problem


def _rgb(image: Image, where: str) -> Image:
    from PIL import Image

    if image.format != "MPO" and getattr(image, "is_animated", False):  # of a camera's MPO the first is the image
        raise DataError(f"{where}: more than one image in it (frames or pages); save the one that is meant as PNG")
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DataError(f"{where}: 32-bit pixels have no fixed range; save it with 8 bits a channel")
    if image.mode not in _MODES:
        raise DataError(f"{where}: pixels in {image.mode}, which cannot be converted; save it as RGB")
    image.load()
    if (turn := _turn(image)) is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I"):  # 16 bits, in some versions of Pillow as 32; it would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
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


def first_size(row: Path | bytes, where: str, side: int | None, wanted: Size | None = None) -> Size:
    """(height, width) of a split's images when decoded: `wanted`, else that of its first picture, which is decoded.

    That must be `side` square if given.
    """
    with _quiet():
        image = _picture(row, where, min(PIXELS, usable_memory() // 6))
    if side and image.size != (side, side):
        size, promised = f"{image.width}x{image.height}", f"{side}x{side}"
        raise DataError(
            f"{where}: image of {size} pixels, but the name of the dataset promises {promised} pixels; rename the "
            "folder"
        )
    return wanted or (image.height, image.width)


def decode_blocks(
    rows: Iterable[Path | bytes], size: Size, where: Callable[[int], str], sizes: set[Size] | None = None
) -> Iterator[np.ndarray]:
    """Decode pictures to `size` (height, width), large ones in threads (Pillow releases the interpreter meanwhile).

    Yields (n, height, width, 3) uint8 of a few MB, in order. `where(i)` names row i in a message. `sizes` gets the
    pictures' own sizes, and those of another size are resized; without it they are refused.
    """
    pixels, remaining = size[0] * size[1], enumerate(rows)
    most = max(_SMALL, 2 * pixels) if sizes is None else min(PIXELS, usable_memory() // 6)

    def work(part: Sequence[tuple[int, Path | bytes]]) -> np.ndarray:
        images = np.empty((len(part), *size, 3), dtype=np.uint8)
        with _quiet():
            for place, (i, row) in enumerate(part):
                image = _picture(row, where(i), most, None if sizes is not None else size)
                own = (image.height, image.width)
                if sizes is not None:
                    sizes.add(own)
                elif own != size:
                    raise _other_size(where(i), image, size)
                images[place] = np.asarray(image) if own == size else resized(np.asarray(image), size)
        return images

    threads = 1 if most < 2 * _SMALL else max(1, min(16, os.cpu_count() or 1, usable_memory() // 2 // (6 * most)))
    length = max(1, min(_BATCH, _BLOCK // (3 * pixels)))
    parts = iter(lambda: list(islice(remaining, length)), [])
    pool = ThreadPoolExecutor(max_workers=threads)
    try:
        while group := list(islice(parts, threads)):
            yield from pool.map(work, group)
    finally:
        pool.shutdown(cancel_futures=True)


def short(text: str, limit: int = 120) -> str:
    """`text` without addresses of Python objects, cut to `limit` characters, for a message."""
    # Pillow prints the address of the stream it was given, which tells nobody anything.
    text = re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", " its bytes", text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def listed(names: Sequence[str]) -> str:
    """The first three of `names`, for a message."""
    return short(", ".join(names[:3])) + ", ..." * (len(names) > 3)


def check_labels(labels: np.ndarray, count: int, where: str) -> None:
    """Raise DataError for the first label outside 0..count-1."""
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= count))):
        raise DataError(
            f"{where} row {wrong[0]}: label {labels[wrong[0]]} is outside 0..{count - 1} "
            f"({count} classes); correct the labels"
        )


def check(listing: Listing, name: str, source: str) -> Listing:
    """Raise DataError where the class count or the image size is not what the name promises, or the splits differ.

    So it does for more than :data:`CLASSES`, and for names that cannot be shown.
    """
    if len(listing.classes) > CLASSES:
        raise DataError(f"{source}: {len(listing.classes):,} classes, more than the {CLASSES:,} that are supported")
    if strange := [label for label in listing.classes if not label.strip() or CONTROL.search(label)]:
        raise DataError(f"{source}: the class name {strange[0]!r} is not plain UTF-8 text; rename it")
    if twice := [label for label, count in Counter(listing.classes).items() if count > 1]:
        raise DataError(f"{source}: two classes are called {twice[0]!r}; rename one")
    if len(listing.classes) < 2:
        raise DataError(f"{source}: one class ({''.join(listing.classes)}); a classifier needs two or more")
    wanted, _ = expected(name)
    train, test = (listing.splits[split] for split in SPLITS)
    if wanted is not None and (wanted != len(listing.classes) or len(np.unique(train.labels)) != wanted):
        count = len(np.unique(train.labels)) if wanted == len(listing.classes) else len(listing.classes)
        raise DataError(f"{source}: {count} classes, but {name!r} has {wanted}; rename the folder or mend its labels")
    if train.size != test.size:
        sizes = " and ".join(in_words(part.size) for part in (train, test))
        raise DataError(f"{source}: train and test images differ in size ({sizes} pixels); {RESIZE}")
    check_labels(train.labels, len(listing.classes), "train")
    check_labels(test.labels, len(listing.classes), "test")
    return listing


def hash_files(root: Path, paths: Sequence[Path]) -> str:
    """SHA-256 (hex) over names and bytes of files; :func:`hash_states` where they are over 1 GB together."""
    digest = hashlib.sha256()
    with readable(root):
        if sum(path.stat().st_size for path in paths) > _HASH_LIMIT:
            return hash_states(root, paths)
        for path in paths:
            digest.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0")
            with open_file(path) as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def hash_states(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 (hex) over the absolute path of `root` and what the system records of each file below it, unread.

    Reading 60,000 small files would take too long. Size and modification time can be equal in another folder, or in
    the same one at another time (archives with fixed times, container layers): inode and time of change are not, since
    no program sets them. Copies of one content therefore have a key each.
    """
    with readable(root):
        digest = hashlib.sha256(os.fsencode(root.resolve()) + b"\0")
        for path in paths:
            status = path.stat()
            if not S_ISREG(status.st_mode):
                raise DataError(f"{path}: is no regular file; take it out of the folder")
            state = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
            digest.update(os.fsencode(path.relative_to(root).as_posix()) + f"\0{state}\n".encode())
    return digest.hexdigest()
