"""Files and folders that are whole or not there: written under a temporary name, flushed to the disk, renamed.

Whatever zoo writes is written here, and never through a link that stands as a file in a folder of zoo's;
:func:`write_named` is for the files that a user names, which may be links.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from zoo.errors import MachineError, Option, RegistryError, RunBusyError, ZooError
from zoo.utils.disk import open_own, put, remove, rename, same_file, short, take, temporary_name

RUNS = Path("runs")  # where runs are kept unless another folder is named
ABANDONED = 3600.0  # seconds after which a temporary file is a dead process's, on a disk that has no locks
_TEMPORARY = re.compile(r"\.(?P<name>.+?)\.\d+(?P<token>\.[0-9a-f]{8})?\.(?P<kind>tmp|old)")

lost: set[Path] = set()  # folders whose lock another process has taken over


def write_atomic(path: Path, content: bytes | memoryview | Callable[[BinaryIO], None]) -> None:
    """Put `content`, or what `content(file)` writes, at `path`; a reader sees the old file or the new, never a part.

    A link at `path` is replaced, not followed. Raises :class:`MachineError`, with the old file intact, when the disk is
    full or the folder not writable, and :class:`RunBusyError` where another process has taken the folder over.
    """
    if path.parent in lost:
        raise RunBusyError(f"{path.parent}: another zoo has taken this run over, since this one was silent for minutes")
    remove_leftovers(path.parent, path.name)
    try:
        with _temporary(path) as fresh:
            with os.fdopen(open_own(fresh, os.O_WRONLY), "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
            put(fresh, path)
    except OSError as problem:
        if problem.errno is None:
            raise
        raise cannot_write(path, problem) from problem


def write_named(path: Path, content: bytes | memoryview) -> None:
    """As :func:`write_atomic`, to where the user says: through a link, and into what is no file, such as a pipe."""
    real = Path(os.path.realpath(path))
    if stream := re.fullmatch(r"/dev/(?:(stdout)|(stderr)|fd/(\d+))", str(path)):
        number = 1 if stream[1] else 2 if stream[2] else int(stream[3])
        sys.stdout.flush()
        into: int | Path = number
    elif os.path.exists(real) and not real.is_file():  # noqa: PTH110 - a name that is too long fails where it is written
        into = real
    else:
        return write_atomic(real, content)
    try:
        with open(into, "wb", closefd=isinstance(into, Path)) as file:
            file.write(content)
    except OSError as problem:
        raise cannot_write(path, problem) from problem


def write_new(path: Path, content: bytes) -> None:
    """Write a file into a folder of :func:`new_folder`, which nobody else has yet. Raises OSError."""
    try:
        file = path.open("xb")  # which follows no link, and takes nothing that is there
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    with file:
        file.write(content)


@contextlib.contextmanager
def reachable(place: object, error: type[ZooError]) -> Iterator[None]:
    """Raise `error`, in one line, for what a look at the path `place` raises in the block.

    Its name may be too long, its folder closed, the user in ``~user`` not there, a link may lead to itself.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as problem:
        shown = str(place) if len(str(place)) <= 200 else f"{str(place)[:200]}..."
        reason = getattr(problem, "strerror", None) or str(problem).rstrip(".")
        raise error(f"{shown}: cannot be reached ({reason}); name another path") from problem


def open_file(path: Path) -> BufferedReader:
    """Open the regular file `path` to read it. Anything else, such as a pipe that nobody writes to, is an OSError."""
    handle, _ = _open_regular(path)
    return os.fdopen(handle, "rb")


def read_file(path: Path, limit: int) -> bytes:
    """The content of the regular file `path`; one of more than `limit` bytes is an OSError, as all others are."""
    handle, size = _open_regular(path)
    try:
        if size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
        content = os.read(handle, size)
        while len(content) < size and (more := os.read(handle, size - len(content))):
            content += more
        return content
    finally:
        os.close(handle)


def _open_regular(path: Path) -> tuple[int, int]:
    """The regular file `path`, opened to be read, and its size."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        why = os.strerror(number) if stat.S_ISDIR(status.st_mode) else "it is no regular file"
        raise OSError(number, why, str(path))
    return handle, status.st_size


@contextlib.contextmanager
def new_folder(path: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new folder beside `path`, for :func:`put`, and gone when the block ends. Raises OSError."""
    remove_leftovers(path.parent, path.name)
    with _temporary(path, mode) as fresh:
        yield fresh


def scratch_folder(name: str) -> contextlib.AbstractContextManager[Path]:
    """A folder of this process in the system's place for temporary files. Raises OSError."""
    return new_folder(Path(tempfile.gettempdir(), name), 0o700)


@contextlib.contextmanager
def _temporary(path: Path, folder_mode: int | None = None) -> Iterator[Path]:
    """An empty file, or a folder, under a temporary name beside `path`, locked until the block ends, then removed."""
    while True:
        fresh, handle = temporary_name(path), -1
        try:
            if folder_mode is None:
                os.close(open_own(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            else:
                fresh.mkdir(folder_mode)
            if sys.platform != "win32":  # where what is open cannot be renamed
                handle = os.open(fresh, os.O_RDONLY if folder_mode is not None else os.O_RDWR)
                if take(handle) is False or not same_file(handle, fresh):
                    continue  # one that sweeps has taken it for a dead process's
            yield fresh
            return
        finally:
            if handle >= 0:
                os.close(handle)
            remove(fresh)


def remove_leftovers(folder: Path, name: str | None = None, *, locked: bool = False) -> None:
    """Delete what killed zoo processes left under temporary names in `folder`: all of it, or that of the file `name`.

    What a living process holds stays. `locked`: the caller has the folder's lock, so nobody else writes there.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        match = _TEMPORARY.fullmatch(entry.name)
        if not match or not (match["token"] or locked) or (name is not None and match["name"] != short(name)):
            continue
        left, target, is_old = Path(entry.path), folder / match["name"], match["kind"] == "old"
        # Without a lock to ask, what was set aside is a dead process's, since it is aside for a moment only.
        is_ours = locked or (is_old and sys.platform == "win32")
        with contextlib.suppress(OSError), _abandoned(left, is_ours) as free:
            if free and is_old and not os.path.lexists(target):
                rename(left, target)
            elif free:
                remove(left)


@contextlib.contextmanager
def _abandoned(path: Path, locked: bool) -> Iterator[bool]:
    """Whether nobody writes `path`; while the block lasts nobody begins to. Raises OSError."""
    status = path.lstat()
    if locked:
        yield True
    elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        yield False
    elif sys.platform == "win32":
        yield time.time() - status.st_mtime > ABANDONED
    else:
        is_file = stat.S_ISREG(status.st_mode)
        handle = os.open(path, (os.O_RDWR if is_file else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            taken = take(handle)
            yield status.st_uid == os.geteuid() and (
                taken is True or (taken is None and time.time() - status.st_mtime > ABANDONED)
            )
        finally:
            os.close(handle)


def check_no_link(path: Path) -> None:
    """Raise :class:`MachineError` for a link, before a library writes through it."""
    if path.is_symlink():
        raise cannot_write(path, OSError(errno.ELOOP, ""))


def cannot_write(path: Path, problem: OSError) -> MachineError:
    """The error for a file that could not be written."""
    again = "then run the same command again: nothing earlier is lost"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"{path}: no space left on the disk; free some, {again}")
    if problem.errno == errno.EFBIG:
        return MachineError(f"{path}: a file may not be that large here (see `ulimit -f`); raise the limit, {again}")
    if problem.errno == errno.ELOOP:
        return MachineError(f"{path}: is a link, and zoo writes through no link in its folders; remove it")
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        held = "another program has it open, or " if sys.platform == "win32" else ""
        reason = f"{held}the folder cannot be written to ({problem.strerror})"
        return MachineError(f"{path}: {reason}; choose another with ", Option("runs", "FOLDER"))
    return MachineError(f"{path}: writing failed: {problem.strerror}")


def sha256(path: Path, *, as_source: bool = False) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises :class:`RegistryError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return source_sha256(file) if as_source else hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise RegistryError(f"{path}: cannot be read ({problem.strerror})") from problem


def source_sha256(file: BufferedReader | BytesIO) -> str:
    """The SHA-256 of a file that git may have checked out with CRLF, as if its lines ended in LF.

    What git takes for binary, by a zero in the first 8,000 bytes, is hashed as it is.
    """
    is_text = b"\0" not in file.read(8000)
    file.seek(0)
    if not is_text:
        return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for line in file:
        digest.update(line[:-2] + b"\n" if line.endswith(b"\r\n") else line)
    return digest.hexdigest()
