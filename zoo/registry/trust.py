"""Whose ``registry.yaml`` is taken from a parent folder: a registry names code to run, so not anybody's."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

from zoo.errors import Option, RegistryError


def check_trusted(file: Path, working: Path) -> None:
    """Take the registry `file` of a parent of the folder `working` only where nobody else could have written it.

    It, what it links to and their folders have to belong to the user or to root, and be writable neither by everyone
    nor by a group that is not the user's own. Systems without user ids (Windows) are not asked.

    Raises :class:`RegistryError`, which names the way to take it all the same.
    """
    real = file.resolve()
    for place in dict.fromkeys((file, real, file.parent, real.parent)):
        if whose := _others(place.lstat()):
            raise RegistryError(
                f"{file} of a parent folder can run code and is not taken: {place} {whose}; to take it give ",
                Option("registry", str(file)),
                f"; to do without, put a registry.yaml into {working} (an empty one will do)",
            )  # fmt: skip


def _others(status: os.stat_result) -> str:
    """Who else can change what has this `status`, in words; nothing where nobody can."""
    if sys.platform == "win32":
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {_user(status.st_uid)}"
    # In a sticky folder, such as /tmp, nobody replaces the file of another; a link's own mode says nothing.
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "is writable by everyone"
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
        return f"is writable by group {status.st_gid}"
    return ""


def _user(number: int) -> str:
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):  # of a container's host
            return pwd.getpwuid(number).pw_name
    return str(number)
