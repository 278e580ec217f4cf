"""What a disk can do, and what is done instead where it cannot: renames that replace, locks, flushes of folders.

Windows refuses to open, rename or remove what another process has open, so each of them is tried again for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# What a file system answers that lacks locks or flushes; and one whose renames do not replace.
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOLCK, errno.ENOTTY}
_NOT_REPLACED = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_MANY = 1_000  # files of a folder from which on its whole disk is flushed
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of renameat2(2)
# Seconds to wait for the reader of a file on Windows, such as a page of `zoo serve` or a virus scanner: 5 in all.
PAUSES = tuple(0.01 * 2**count for count in range(9)) if sys.platform == "win32" else ()
Answer = TypeVar("Answer")

log = logging.getLogger("zoo")


def temporary_name(path: Path, kind: str = "tmp") -> Path:
    """A name beside `path` that nobody has; :func:`zoo.utils.files.remove_leftovers` knows it."""
    return path.with_name(f".{short(path.name)}.{os.getpid()}.{secrets.token_hex(4)}.{kind}")


def short(name: str) -> str:
    """The part of a file's name that its temporary names have."""
    return name[:50]  # leaves room for the rest within the 255 bytes of a name


def open_own(path: Path, flags: int) -> int:
    """Open a regular file of a folder that zoo writes; a link or anything else in its place is an OSError."""
    unblocked = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    linked = OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if path.is_symlink():
        raise linked
    handle = _once_free(lambda: os.open(path, flags | unblocked, 0o666))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if sys.platform == "win32" and not same_file(handle, path):  # which has no O_NOFOLLOW
            raise linked
    except OSError:
        os.close(handle)
        raise
    return handle


def rename(one: Path, other: Path) -> None:
    """Rename a file or a folder; a file takes the place of another. Raises OSError."""
    if sys.platform == "win32" and one.is_dir() and os.path.lexists(other):  # which calls it a lack of permission
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(other))
    _once_free(lambda: one.replace(other))


def unlink(path: Path) -> None:
    """Remove a file, where it is there. Raises OSError."""
    _once_free(lambda: path.unlink(missing_ok=True))


def _once_free(act: Callable[[], Answer]) -> Answer:
    """What `act` gives; where Windows refuses it, as for a file that is in use, it is called again after a pause."""
    for pause in PAUSES:
        try:
            return act()
        except PermissionError:
            time.sleep(pause)
    return act()


def same_file(handle: int, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def take(handle: int) -> bool | None:
    """Lock an open file for this process; False where another has it, None where the disk has no locks."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, 1 << 30, os.SEEK_SET)  # beyond what is read, since Windows locks bytes against readers
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in _UNSUPPORTED:
            return None
        if problem.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        raise
    return True


def _sync(path: Path) -> None:
    """Flush a file, or a folder's own entries, so that a rename outlives a power cut; where the disk can."""
    if sys.platform == "win32" and path.is_dir():
        return  # there a folder cannot be opened, and a rename is durable by itself
    try:
        handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        if problem.errno not in _UNSUPPORTED:
            raise


def _sync_folder(folder: Path) -> None:
    """Flush all files in `folder`: of thousands the whole disk's, which takes a hundredth of the time."""
    files = [*folder.rglob("*"), folder]
    if len(files) > _MANY and sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "syncfs"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            if libc.syncfs(handle) == 0:
                return
        finally:
            os.close(handle)
    with ThreadPoolExecutor(16) as pool:  # the disk flushes many files at once in the time of one
        list(pool.map(_sync, files))


def put(fresh: Path, path: Path, *, replace: bool = True) -> None:
    """Flush `fresh`, a file or a folder, and rename it to `path`; what was there is replaced at once.

    Where the disk can do no better it is replaced in two steps. A kill between them leaves the old one under a name
    that :func:`zoo.utils.files.remove_leftovers` puts back. Raises OSError, with the old one intact.
    """
    if fresh.is_dir():
        _sync_folder(fresh)
    else:
        _sync(fresh)
    try:
        rename(fresh, path)
    except OSError as problem:
        if not replace or problem.errno not in _NOT_REPLACED or not os.path.lexists(path):
            raise
        if not exchange(fresh, path):
            _put_in_two_steps(fresh, path)
    _sync(path.parent)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once; False where the system or the disk cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _put_in_two_steps(fresh: Path, path: Path) -> None:
    old = temporary_name(path, "old")
    is_file = fresh.is_file()
    rename(path, old)
    try:
        rename(fresh, path)
    except OSError:
        rename(old, path)
        raise
    remove(old)
    if is_file:  # of folders only Linux can do better
        _warn_of_two_steps(path.parent)


@functools.cache
def _warn_of_two_steps(folder: Path) -> None:
    log.warning(
        "warning: on the disk of %s a rename replaces nothing, so what is there is replaced in two steps; after a kill "
        "between them the same command puts the old one back",
        folder,
    )


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        with contextlib.suppress(OSError):
            unlink(path)
