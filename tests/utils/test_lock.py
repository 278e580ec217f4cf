"""One process at a folder, with the system's locks and on disks without them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import preloaded
import pytest
from run_files import check_same, find_run

from zoo.errors import MachineError, RunBusyError
from zoo.utils import lock as locks
from zoo.utils.files import lost, new_folder, remove_leftovers, write_atomic
from zoo.utils.lock import dead_holder, lock

HOLD = """
import sys, time
from pathlib import Path
from zoo.errors import RunBusyError
from zoo.utils.lock import lock
try:
    with lock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
except RunBusyError as problem:
    print("busy", flush=True)
"""


def start(folder: Path, seconds: float, **lacks: int) -> subprocess.Popen[str]:
    """A process that holds the lock of `folder` for so long, on a disk that lacks this."""
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    environment = preloaded.environment(**lacks)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refuse(number: int) -> Callable[..., None]:
    """A call that the disk lacks."""

    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture(params=[errno.ENOTSUP, errno.EINVAL, errno.ENOLCK, errno.ENOSYS], ids=errno.errorcode.get)
def no_locks(request, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, a disk without locks."""
    monkeypatch.setattr("zoo.utils.disk.fcntl.flock", refuse(request.param))
    monkeypatch.setattr(locks, "_warned", set())
    monkeypatch.setattr(locks, "WAIT", 0.2)


def age(path: Path, seconds: float) -> None:
    """As if nobody had touched it for so long."""
    when = path.stat().st_mtime - seconds
    os.utime(path, (when, when))


def test_a_disk_without_locks_warns_once_and_locks_by_a_file(no_locks, tmp_path: Path, caplog) -> None:
    for _ in range(2):
        with lock(tmp_path / "seed0"):
            process, _host, *_ = (tmp_path / ".seed0.lock").read_text().split()
            assert process == str(os.getpid())
            assert dead_holder(tmp_path / "seed0") is None
            with pytest.raises(RunBusyError, match=rf"another zoo \(process {process} on .*\) is at this run"):
                lock(tmp_path / "seed0").__enter__()
            write_atomic(tmp_path / "seed0.txt", b"x")
        assert [path.name for path in tmp_path.iterdir()] == ["seed0.txt"]
    (line,) = caplog.messages
    assert "has no file locks" in line
    assert "two zoo processes may train the same run" in line


def test_a_killed_process_of_this_machine_is_noticed_at_once(tmp_path: Path) -> None:
    killed = start(tmp_path / "seed0", 60, flock=errno.ENOTSUP)
    assert killed.stdout.readline() == "held\n"
    assert start(tmp_path / "seed0", 0, flock=errno.ENOTSUP).communicate(timeout=60)[0] == "busy\n"
    with pytest.raises(RunBusyError), lock(tmp_path / "seed0"):  # here the disk has locks: the other's record counts
        pass
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert dead_holder(tmp_path / "seed0") == killed.pid
    assert start(tmp_path / "seed0", 0, flock=errno.ENOTSUP).communicate(timeout=60)[0] == "held\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "77", "77 node7 another-boot/pid:[1] 5 0123456789abcdef", "\0" * 50, "a b c d e"])
def test_a_lost_machines_lock_is_free_after_five_minutes(no_locks, tmp_path: Path, text: str) -> None:
    path = tmp_path / ".seed0.lock"
    path.write_text(text)
    age(path, 290)
    with pytest.raises(RunBusyError), lock(tmp_path / "seed0"):
        pass
    assert path.read_text() == text
    age(path, 20)
    with lock(tmp_path / "seed0"):
        assert path.read_text().split()[0] == str(os.getpid())
    assert not list(tmp_path.iterdir())


def test_a_holder_touches_its_lock_and_stops_where_it_was_taken_over(no_locks, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "TOUCH", 0.02)
    path, folder = tmp_path / ".seed0.lock", tmp_path / "seed0"
    folder.mkdir()
    with lock(folder):
        age(path, 1000)
        record, until = path.read_text(), time.monotonic() + 10
        while time.time() - path.stat().st_mtime > 500 and time.monotonic() < until:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 500
        write_atomic(folder / "state.pt", b"x")
        path.write_text("78 node8 another-boot/pid:[1] 6 fedcba9876543210")
        while folder not in lost and time.monotonic() < until:
            time.sleep(0.01)
        with pytest.raises(RunBusyError, match="another zoo has taken this run over"):
            write_atomic(folder / "state.pt", b"x")
        assert path.read_text() != record
    assert path.read_text().startswith("78 node8"), "the lock of the other process was removed"
    write_atomic(folder / "state.pt", b"x")


@pytest.mark.parametrize("dead", [False, True], ids=["new", "dead"])
def test_of_processes_that_race_on_a_disk_without_locks_one_holds(tmp_path: Path, dead: bool) -> None:
    """Four at a time, for a lock that nobody has, and for a dead one that each of them wants to remove."""
    if dead:
        (tmp_path / ".seed0.lock").write_text("77 node7 another-boot/pid:[1] 5 0123456789abcdef")
        age(tmp_path / ".seed0.lock", 1000)
    racing = [start(tmp_path / "seed0", 5, flock=errno.EINVAL) for _ in range(4)]
    answers = [process.communicate(timeout=60)[0] for process in racing]
    assert sorted(answers) == ["busy\n"] * 3 + ["held\n"]
    assert not list(tmp_path.iterdir())


def test_a_flush_that_the_disk_lacks_is_no_failure_and_a_fault_is(tmp_path: Path, monkeypatch) -> None:
    for number in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
        monkeypatch.setattr(os, "fsync", refuse(number))
        write_atomic(tmp_path / "file", b"whole")
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(MachineError, match="Input/output error"):
        write_atomic(tmp_path / "file", b"other")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_rename_that_does_not_replace_is_done_in_two_steps(tmp_path: Path, monkeypatch, caplog) -> None:
    replace, path = Path.replace, tmp_path / "state.pt"

    def refused(one: Path, other: Path) -> Path:
        if other.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return replace(one, other)

    monkeypatch.setattr(Path, "replace", refused)
    monkeypatch.setattr("zoo.utils.disk.exchange", lambda *_: False)
    for content in (b"1", b"2", b"3"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    (line,) = caplog.messages
    assert "a rename replaces nothing" in line

    class Killed(BaseException):
        """In place of a kill, which nothing catches."""

    def killed(one: Path, other: Path) -> Path:
        if other == path and not path.exists():
            raise Killed
        return refused(one, other)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        write_atomic(path, b"4")
    assert not path.exists()
    monkeypatch.undo()
    remove_leftovers(tmp_path, locked=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("state.pt", b"3")]


KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from zoo.utils import disk
from zoo.utils.files import new_folder, write_new
page, replace = Path(sys.argv[1]), Path.replace
disk.exchange = lambda *_: False
Path.replace = lambda one, other: (
    os.kill(os.getpid(), signal.SIGKILL) if other == page and not page.exists() else replace(one, other)
)
with new_folder(page) as fresh:
    write_new(fresh / "index.html", b"new")
    disk.put(fresh, page)
"""


def test_a_page_whose_exchange_was_killed_in_the_middle_is_put_back(tmp_path: Path) -> None:
    """Where the system cannot exchange names, a kill after the first of two renames leaves nothing at the place."""
    page = tmp_path / "report"
    page.mkdir()
    (page / "index.html").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED_BETWEEN, page], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {path.suffix for path in tmp_path.iterdir()} == {".old", ".tmp"}
    with new_folder(page):  # as the next report begins
        assert (page / "index.html").read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


LACKING = {"flock": errno.ENOTSUP, "fsync": errno.EINVAL, "rename": errno.EEXIST, "exchange": errno.EINVAL}


@pytest.mark.slow
def test_two_benches_race_for_a_run_on_a_mounted_drive(zoo_cli, inline_cli, tiny, tmp_path: Path, figure) -> None:
    """The disk lacks locks, flushes of folders and renames that replace: exactly one trains, and one that is killed
    is resumed at once to the same bits."""
    (tmp_path / "reference").mkdir()
    inline_cli.ok("bench", "resnet20_ln", *tiny, cwd=tmp_path / "reference")
    zoo_cli = type(zoo_cli)(tmp_path, environment=zoo_cli.environment | preloaded.environment(**LACKING))
    racing = [zoo_cli.start("bench", "resnet20_ln", *tiny) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in racing]
    trained = [error for _, error in outputs if " 1/2 " in error]
    assert len(trained) == 1, outputs
    codes = sorted(process.returncode for process in racing)
    assert codes in ([0, 0], [0, 2]), outputs  # the other was refused, or came when all was done
    assert all("has no file locks" in error for _, error in outputs)
    assert "a rename replaces nothing" in trained[0]
    check_same(find_run(tmp_path, "resnet20_ln"), find_run(tmp_path / "reference", "resnet20_ln"), resumes=0)
    assert not list((tmp_path / "runs").rglob(".*"))

    process = zoo_cli.start("bench", "resnet20_ln", *tiny, "--restart")
    for line in process.stderr:
        if line.strip().startswith("1/2 "):
            break
    process.kill()
    process.communicate()
    output = zoo_cli.ok("bench", "resnet20_ln", *tiny)
    assert "resumes after epoch" in output.stderr
    check_same(find_run(tmp_path, "resnet20_ln"), find_run(tmp_path / "reference", "resnet20_ln"), resumes=1)
    assert not list((tmp_path / "runs").rglob(".*"))
    zoo_cli.ok("tune", "resnet20_ln", *tiny, "--trials", "1")  # SQLite finds no locks either
    assert not list((tmp_path / "runs").rglob(".*"))
    figure("races on a disk without locks, exactly one trained")
