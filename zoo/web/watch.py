"""What lies in the folders of runs, and what changed there: as the system reports it, and by looks at all of them."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.results.folder import EXPLAIN, FILE, RunFolder, find_results

SHARE = 0.01  # of a core that looking at all folders may take; what the system reports is seen at once
SOON = 1.0  # seconds between two such looks where they are cheap
MANY = 50  # folders at once, above which all are looked at
# inotify(7): attributes, closed after writing, moved from and to, made, removed; of a folder only.
_MASK, _OVERFLOW, _FOLDER = 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x01000000, 0x4000, 0x40000000
_EVENT = struct.Struct("iIII")
_HISTORY = RunFolder(Path()).history.name
Stamp = tuple[int, int]  # the time of the last change, in nanoseconds, and the size


class Seen(NamedTuple):
    """What lies in a run's folder: result, history, and what ``zoo explain`` made; `locked`: a process may be at it."""

    result: Stamp | None
    history: Stamp | None
    pictures: Stamp | None
    locked: bool


class Watch:
    """The runs under `roots`; `seen` has what was found in each run's folder by the last call of :meth:`look`.

    Raises as :func:`find_results` does.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [str(root) for root in roots]
        self.seen: dict[str, Seen] = {}
        self._reports = _Reports() if sys.platform == "linux" else None
        self._again = 0.0

    @property
    def handles(self) -> list[int]:
        """What can be waited for: it is ready to be read when something changed."""
        return [self._reports.handle] if self._reports else []

    def look(self) -> set[str]:
        """The folders of runs in which something changed since the last look."""
        reported = self._reports.read() if self._reports else set()
        if reported is None or len(reported) > MANY or time.monotonic() >= self._again:
            begun = time.process_time()
            before, self.seen = self.seen, self._all(self.roots)
            self._again = time.monotonic() + max(SOON, (time.process_time() - begun) / SHARE)
            return _unlike(before, self.seen)
        changed: set[str] = set()
        for folder in reported:
            inside = f"{folder}{os.sep}"
            before = {path: seen for path, seen in self.seen.items() if path == folder or path.startswith(inside)}
            now = self._all([folder] if os.path.isdir(folder) else [])  # noqa: PTH112 - thousands of them
            changed |= _unlike(before, now)
            for path in before:
                del self.seen[path]
            self.seen |= now
        return changed

    def _all(self, roots: Iterable[str]) -> dict[str, Seen]:
        return {path: seen for root in roots for path, seen in self._found(root)}

    def _found(self, root: str) -> Iterator[tuple[str, Seen]]:
        def stop(problem: OSError) -> None:
            if not isinstance(problem, FileNotFoundError):  # removed since
                find_results(map(Path, self.roots))  # says what is wrong

        if not os.path.isdir(root):  # noqa: PTH112
            find_results([Path(root)])
            root = os.path.dirname(root) or os.curdir  # noqa: PTH120
        above, name = os.path.split(root)
        locked = {root} if os.path.lexists(os.path.join(above, f".{name}.lock")) else set()  # noqa: PTH118
        for place, names, files in os.walk(root, onerror=stop):
            if self._reports:
                self._reports.add(place)
            inside = f"{place}{os.sep}"
            locked |= {f"{inside}{name}" for name in names if f".{name}.lock" in files}
            result = _stamp(f"{inside}{FILE}") if FILE in files or FILE in names else None
            history = _stamp(f"{inside}{_HISTORY}") if _HISTORY in files else None
            if result or history or place in locked:
                pictures = _stamp(f"{inside}{EXPLAIN}") if EXPLAIN in names else None
                yield place, Seen(result, history, pictures, place in locked)


def _unlike(before: dict[str, Seen], now: dict[str, Seen]) -> set[str]:
    return {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:  # gone since
        return None
    return status.st_mtime_ns, status.st_size


class _Reports:
    """What the kernel reports of folders that were added. Where it reports nothing, looks alone find what changed."""

    handle: int

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        if sys.platform == "linux":
            self.handle = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[int, str] = {}

    def add(self, folder: str) -> None:
        """Have `folder` reported; one more time is as good as once."""
        number = self._library.inotify_add_watch(self.handle, os.fsencode(folder), _MASK)
        if number >= 0:
            self._folders[number] = folder

    def read(self) -> set[str] | None:
        """The folders of runs, or above them, that were reported; None where reports were lost."""
        folders: set[str] = set()
        while content := self._content():
            place = 0
            while place < len(content):
                number, mask, _, length = _EVENT.unpack_from(content, place)
                name = os.fsdecode(content[place + _EVENT.size : place + _EVENT.size + length].rstrip(b"\0"))
                place += _EVENT.size + length
                if mask & _OVERFLOW:
                    return None
                folder = self._folders.get(number)
                if folder is None:
                    continue
                if name.startswith(".") and name.endswith(".lock"):
                    folders.add(os.path.join(folder, name[1 : -len(".lock")]))  # noqa: PTH118
                elif name in (FILE, _HISTORY, EXPLAIN):
                    folders.add(folder)
                elif mask & _FOLDER and name:
                    folders.add(os.path.join(folder, name))  # noqa: PTH118
        return folders

    def _content(self) -> bytes:
        try:
            return os.read(self.handle, 1 << 16)
        except OSError:  # nothing more, or not to be had here
            return b""
