"""Files that are whole or not there: written under a temporary name, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from zoo.errors import MachineError, Option, RegistryError, RunBusyError

if sys.platform != "win32":
    import fcntl


def write_atomic(path: Path, content: bytes | memoryview | Callable[[BinaryIO], None]) -> None:
    """Put `content`, or what `content(file)` writes, at `path`; a reader sees the old file or the new, never a part.

    Raises :class:`MachineError`, with the old file intact, when the disk is full or the folder not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(problem, OSError) and problem.errno is not None:
            raise _cannot_write(path, problem) from problem
        raise


def open_file(path: Path) -> BufferedReader:
    """Open the regular file `path` to read it. Anything else, such as a pipe that nobody writes to, is an OSError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(kind) else "it is no regular file", str(path))
    return os.fdopen(handle, "rb")


def read_file(path: Path, limit: int) -> bytes:
    """The content of the regular file `path`; one of more than `limit` bytes is an OSError, as all others are."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
        return file.read(size)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` against other zoo processes; the system lets go when the process ends, however it ends.

    Raises :class:`RunBusyError` naming the process that holds it.
    """
    if sys.platform == "win32":  # without locks: two processes at one run are not noticed
        yield
        return
    path = folder.with_name(f".{folder.name}.lock")
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as problem:
            raise _cannot_write(path, problem) from problem
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            holder = os.read(handle, 20).decode(errors="replace") or "unknown"
            os.close(handle)
            if not isinstance(problem, BlockingIOError):  # a file system without locks
                raise _cannot_write(path, problem) from problem
            raise RunBusyError(
                f"{folder}: another zoo (process {holder}) is at this run; wait for it, or choose another ",
                Option("runs"), " folder",
            ) from problem  # fmt: skip
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                break
        os.close(handle)  # the holder before us removed the file between our opening and our locking it
    try:
        with contextlib.suppress(OSError):  # on a full disk others are told "unknown"; what is done can still be read
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Flush `folder`'s own entries, so that a rename outlives a power cut."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and a rename is durable by itself
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left under temporary names in `folder`."""
    for leftover in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _cannot_write(path: Path, problem: OSError) -> MachineError:
    again = "then give the same command again: nothing earlier is lost"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"{path}: no space left on the disk; free some, {again}")
    if problem.errno == errno.EFBIG:
        return MachineError(f"{path}: a file may not be that large here (see `ulimit -f`); raise the limit, {again}")
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = f"the folder cannot be written to ({problem.strerror})"
        return MachineError(f"{path}: {reason}; choose another with ", Option("runs"))
    return MachineError(f"{path}: writing failed: {problem.strerror}")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises :class:`RegistryError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise RegistryError(f"{path}: cannot be read ({problem.strerror})") from problem
