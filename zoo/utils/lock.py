"""One zoo process at a folder at a time: by the system's file locks, or, on a disk without them, by a file alone.

The lock of ``seed0`` is ``.seed0.lock`` beside it. Where the disk has locks, the system lets go when the process ends,
however it ends. Where it has none, the file is created atomically with host, process and start time, and touched every
:data:`TOUCH` seconds; one that is untouched for :data:`STALE` seconds is a dead process's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from zoo.errors import Option, RunBusyError
from zoo.utils.disk import open_own, same_file, take, temporary_name, unlink
from zoo.utils.files import cannot_write, lost, read_file

TOUCH = 30.0  # seconds
STALE = 300.0
WAIT = 2.0  # in which another process may be removing the same dead lock
MOMENT = 0.5  # in which another process may be looking whether the holder of a lock has ended

log = logging.getLogger("zoo")
_warned: set[Path] = set()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[bool]:
    """Hold `folder` against other zoo processes; False where the disk has no locks, and a file alone holds it.

    Raises :class:`RunBusyError` naming the process that holds it, and :class:`zoo.errors.MachineError` where the lock
    cannot be written or a link stands in its place.
    """
    path = _path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, record = _acquire(folder, path)
    except OSError as problem:
        raise cannot_write(path, problem) from problem
    ended = threading.Event()
    if record:
        threading.Thread(target=_keep, args=(folder, path, record, ended), daemon=True).start()
    try:
        yield not record
    finally:
        ended.set()
        is_own = not record or _read(path) == record
        if sys.platform == "win32":  # where an open file cannot be removed
            os.close(handle)
        with contextlib.suppress(OSError):
            if is_own:
                unlink(path)
        if sys.platform != "win32":
            os.close(handle)
        lost.discard(folder)


def dead_holder(folder: Path) -> int | None:
    """The process that the lock of `folder` names and that has ended; None while one may be at work.

    The lock is held for this moment, in which a bench that finds it taken tries again. Raises FileNotFoundError where
    there is no lock.
    """
    path = _path(folder)
    try:
        # A network share locks only what may be written.
        handle = open_own(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
        try:
            is_free = take(handle)
            words = os.read(handle, 1000).decode().split()
        finally:
            os.close(handle)
        process = int(words[0])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, IndexError):  # another user's, no process, or just being written
        return None
    if len(words) > 1:
        # By this machine's clock, since nothing is written here.
        is_free = not _alive(path, " ".join(words), lambda path: time.time() - path.lstat().st_mtime)
    return process if is_free else None


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _acquire(folder: Path, path: Path) -> tuple[int, str]:
    """The open lock file and, where the disk has no locks, the record in it. Raises OSError, :class:`RunBusyError`."""
    until, moment = (time.monotonic() + seconds for seconds in (WAIT, MOMENT))
    while True:
        try:
            handle, created = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
        except FileExistsError:
            try:
                handle, created = open_own(path, os.O_RDWR), False
            except FileNotFoundError:
                continue  # the holder has just gone
        try:
            taken = take(handle)
            holder = "" if created else _read(path)
            is_it = same_file(handle, path)  # else the holder before us removed what we have opened
            if taken and is_it and (len(holder.split()) < 2 or not _alive(path, holder)):
                with contextlib.suppress(OSError):  # on a full disk the holder is unknown; what is done can be read
                    os.truncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return os.dup(handle), ""
            if taken is None:
                _warn(path.parent)
                if created and (record := _recorded(handle, path)):
                    return os.dup(handle), record
        finally:
            os.close(handle)  # Windows removes nothing that is open
        if taken is None and time.monotonic() < until and _remove_dead(path, holder):
            continue
        if taken is False and time.monotonic() < moment:
            time.sleep(MOMENT / 10)
        elif not taken or is_it:
            raise _busy(folder, holder)


def _warn(folder: Path) -> None:
    """Name the risk of a disk without locks, once."""
    if folder in _warned:
        return
    _warned.add(folder)
    log.warning(
        "warning: the disk of %s has no file locks, so a run is locked by a file alone: where the disk is slow to show "
        "files to other machines, two zoo processes may train the same run; a lost machine's run is free after %d s",
        folder, STALE,
    )  # fmt: skip


def _recorded(handle: int, path: Path) -> str:
    """Write the record of this process into the lock that it has created; "" where it is not there afterwards."""
    process = os.getpid()
    record = f"{process} {socket.gethostname() or '-'} {_machine()} {_start(process)} {secrets.token_hex(8)}"
    os.write(handle, record.encode())
    with contextlib.suppress(OSError):
        os.fsync(handle)
    return record if _read(path) == record else ""


def _busy(folder: Path, holder: str) -> RunBusyError:
    process, *others = holder.split()[:2] or ["unknown"]
    where = f" on {others[0]}" if others else ""
    return RunBusyError(
        f"{folder}: another zoo (process {process}{where}) is at this run; wait for it, or choose another folder with ",
        Option("runs", "FOLDER"),
    )  # fmt: skip


def _read(path: Path) -> str:
    """The record of a lock; "" where it cannot be read."""
    try:
        return read_file(path, 1000).decode(errors="replace")
    except OSError:
        return ""


def _alive(path: Path, record: str, age: Callable[[Path], float] | None = None) -> bool:
    """Whether the process of a `record` may be at work: by its start on this machine, else by the file's age."""
    words = record.split()
    if len(words) == 5 and words[0].isdecimal() and words[2] == _machine() != "-":
        return _start(int(words[0])) == words[3]
    try:
        return (age or _age)(path) <= STALE
    except OSError:
        return True


def _age(path: Path) -> float:
    """Seconds since `path` was written, by the clock of its disk, which hosts with other clocks share."""
    probe = temporary_name(path)
    handle = open_own(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        return os.fstat(handle).st_mtime - path.lstat().st_mtime
    finally:
        os.close(handle)
        unlink(probe)


def _remove_dead(path: Path, holder: str) -> bool:
    """Remove a lock without a living process; False where its process lives. Of several processes one removes it."""
    if _alive(path, holder):
        return False
    guard = path.with_name(f"{path.name}.break")
    try:
        handle = open_own(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        if not _alive(guard, _read(guard)):
            unlink(guard)
        time.sleep(0.05)
        return True
    try:
        os.write(handle, f"{os.getpid()} - {_machine()} {_start(os.getpid())} -".encode())
        if _read(path) == holder and not _alive(path, holder):
            unlink(path)
    finally:
        os.close(handle)
        unlink(guard)
    return True


def _keep(folder: Path, path: Path, record: str, ended: threading.Event) -> None:
    """Touch the lock until it is released. One that another process took over ends the writing to `folder`."""
    while not ended.wait(TOUCH):
        with contextlib.suppress(OSError):
            try:
                handle = open_own(path, os.O_RDWR)
            except FileNotFoundError:
                handle = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                os.write(handle, record.encode())
            try:
                if os.read(handle, 1000).decode(errors="replace") not in (record, ""):
                    lost.add(folder)
                    return
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, record.encode())
            finally:
                os.close(handle)


def _machine() -> str:
    """What a process number is unique in: this start of this kernel and its table of processes; "-" where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "-"


def _start(process: int) -> str:
    """When `process` started, in the kernel's ticks; "-" where it is not there or not known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if fields[0] == "Z" else fields[19]
