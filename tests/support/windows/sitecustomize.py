"""What Windows refuses, on Linux: with this folder on PYTHONPATH, Python runs it as it starts.

zoo's modules are given an `os`, `sys`, `signal` and `ctypes` without what Windows lacks, and no module that it lacks.
Libraries keep theirs. For all code of the process, a file that any process has open is neither renamed nor removed,
no folder takes another's place, folders are not opened, and names that Windows refuses are not written. Paths keep
their slashes. tests/cli/test_windows.py adds the encodings.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import errno
import fcntl
import importlib
import multiprocessing
import multiprocessing.context
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import threading
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

MISSING = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
HIDDEN = {
    "os": {
        "O_ASYNC", "O_CLOEXEC", "O_DIRECT", "O_DIRECTORY", "O_DSYNC", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW",
        "O_NONBLOCK", "O_PATH", "O_SYNC", "O_TMPFILE", "WNOHANG", "chown", "confstr", "fdatasync", "fork", "forkpty",
        "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getuid",
        "getxattr", "killpg", "lchown", "memfd_create", "mkfifo", "mknod", "nice", "openpty", "pidfd_open", "pipe2",
        "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "pwrite", "register_at_fork", "sched_getaffinity",
        "sched_setaffinity", "sched_yield", "sendfile", "setpgid", "setsid", "setxattr", "statvfs", "sync", "sysconf",
        "sysconf_names", "uname", "wait", "wait3", "wait4", "waitid",
    },
    "sys": {"abiflags", "getdlopenflags", "setdlopenflags"},
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm",
        "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
    },
}  # fmt: skip
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)


class Module(ModuleType):
    """The module `real`, with other things in their place and without what is hidden."""

    def __init__(self, module: str, real: ModuleType | None, **others: Any) -> None:
        super().__init__(module)
        vars(self)["_parts"] = (real, HIDDEN.get(module, ()), others)

    def __getattr__(self, name: str) -> Any:
        real, hidden, others = vars(self)["_parts"]
        if name in others:
            return others[name]
        if name in hidden or real is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows", name=name, obj=self)
        return getattr(real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_parts"][0], name, value)


def library(name: str | None, *arguments: Any, **options: Any) -> ctypes.CDLL:
    if name is None:
        raise TypeError("LoadLibrary() argument 1 must be str, not None")
    return ctypes.CDLL(name, *arguments, **options)


def locking(handle: int, mode: int, count: int) -> None:
    """msvcrt.locking: a lock of bytes, which nobody may read while another has them, so they lie beyond the content."""
    assert mode == 2
    assert os.lseek(handle, 0, os.SEEK_CUR) >= os.fstat(handle).st_size
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def imported_by_name(name: str, package: str | None = None) -> ModuleType:
    if name in MISSING:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return MODULES.get(name) or importlib.import_module(name, package)


MODULES = {
    "importlib": Module("importlib", importlib, import_module=imported_by_name),
    "winreg": Module(
        "winreg",
        None,
        HKEY_LOCAL_MACHINE=0,
        OpenKey=lambda *_: contextlib.nullcontext(),
        QueryValueEx=lambda *_: ("A Processor", 1),
    ),
    "os": Module("os", os, name="nt"),
    "sys": Module("sys", sys, platform="win32"),
    "signal": Module("signal", signal),
    "ctypes": Module("ctypes", ctypes, CDLL=library),
    "msvcrt": Module("msvcrt", None, LK_NBLCK=2, locking=locking),
    "platform": Module(
        "platform", platform, libc_ver=lambda: ("", ""), machine=lambda: "AMD64", system=lambda: "Windows"
    ),
}


def imported(name: str, names: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> ModuleType:
    """``import`` in zoo's own modules."""
    if level == 0 and name in MISSING:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if level == 0 and name in MODULES and not (name == "importlib" and wanted):  # such as importlib.metadata
        return MODULES[name]
    return builtins.__import__(name, names, local, wanted, level)


class Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": imported}
        super().exec_module(module)


class Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname.partition(".")[0] != "zoo":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and type(spec.loader) is SourceFileLoader:
            spec.loader = Loader(fullname, spec.origin)
        return spec


def check_name(path: str) -> None:
    for part in path.split("/"):
        if part not in ("", ".", "..") and (DEVICE.match(part) or part[-1] in ". " or set(part) & set('<>:"|?*\\')):
            raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", path)


def check_free(path: str) -> None:
    """Raise PermissionError where a process has `path`, or a file in it, open or mapped."""
    if not os.path.lexists(path):
        return
    real = os.path.abspath(path)  # noqa: PTH100

    def is_it(other: str) -> bool:
        return other == real or other.startswith(f"{real}/")

    for process in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
        opened = []
        with contextlib.suppress(OSError):  # it has ended, or is none of ours
            with open(f"/proc/{process}/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
                opened = [f"/{line.partition('/')[2].rstrip()}" for line in maps if "/" in line]
            for handle in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208
                with contextlib.suppress(FileNotFoundError):
                    opened.append(os.readlink(f"/proc/{process}/fd/{handle}"))  # noqa: PTH115
        if any(map(is_it, opened)):
            raise PermissionError(errno.EACCES, f"process {process} has it open", path)


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: raise what Windows raises."""
    if event == "os.kill" and arguments[1] == 0:
        raise RuntimeError("os.kill(process, 0) is Ctrl+C on Windows")
    if event in ("os.fork", "os.forkpty"):
        raise OSError(errno.ENOSYS, "Windows has no fork")
    if event not in EVENTS or getattr(inside, "hook", False) or isinstance(arguments[0], int):
        return
    inside.hook = True
    try:
        first = os.fsdecode(arguments[0])
        if event == "os.symlink":
            raise OSError(errno.EPERM, "A required privilege is not held by the client", first)
        if event == "open" and first.startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), first)
        writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if event == "open" and not writes and os.path.isdir(first):  # noqa: PTH112
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), first)
        if event == "os.mkdir" or writes:
            check_name(first)
        if event in ("os.rename", "os.remove"):
            check_free(first)
        if event == "os.rename":
            other = os.fsdecode(arguments[1])
            check_name(other)
            if os.path.isdir(other):  # noqa: PTH112
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), other)
            check_free(other)
    finally:
        inside.hook = False


EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.symlink"}
inside = threading.local()
tempfile.TemporaryFile = tempfile.NamedTemporaryFile
shutil._use_fd_functions = False  # type: ignore[attr-defined]
multiprocessing.get_all_start_methods = lambda: ["spawn"]
for method in ("fork", "forkserver"):
    multiprocessing.context._concrete_contexts.pop(method, None)  # type: ignore[attr-defined]
multiprocessing.set_start_method("spawn")
sys.meta_path.insert(0, Finder())
sys.addaudithook(refuse)
