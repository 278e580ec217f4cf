"""zoo on Windows, as far as Linux can be one: `tests/support/windows` refuses what Windows refuses.

Paths with backslashes and drives, and Windows' own errors, are not simulated.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import preloaded
import pytest
from run_files import check_same, find_run

REPOSITORY = Path(__file__).parents[2]
SIMULATION = REPOSITORY / "tests" / "support" / "windows"
PATH = f"{SIMULATION}{os.pathsep}{REPOSITORY}"
# Files are ASCII unless zoo names their encoding: it fails for more characters than the code page of any Windows.
ENCODINGS = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}


def simulated(cli: Any, source: Path = REPOSITORY, **environment: str) -> Any:
    """`cli` on a Windows, with the zoo of `source`."""
    path = f"{SIMULATION}{os.pathsep}{source}"
    return replace(cli, environment=cli.environment | ENCODINGS | {"PYTHONPATH": path} | environment)


@pytest.fixture
def windows_cli(zoo_cli, tmp_path: Path) -> Any:
    """zoo on a Windows, with a cache of its own."""
    return simulated(zoo_cli, ZOO_CACHE=str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git checks out on Windows, of the last commit: no links, and CRLF where nothing forbids it."""
    folder = tmp_path_factory.mktemp("checkout") / "zoo"
    settings = ("-c", "core.symlinks=false", "-c", "core.autocrlf=true")
    subprocess.run(["git", *settings, "clone", "--quiet", REPOSITORY, folder], check=True)
    return folder


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Code on a Windows."""
    environment = os.environ | ENCODINGS | {"PYTHONPATH": PATH}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[list[Path]]:
    """Whatever files appear in `folder` are opened again and again meanwhile, for a moment each, as a scanner does."""
    ended, opened = threading.Event(), []

    def read() -> None:
        while not ended.wait(0.3):
            with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
                for path in [path for path in folder.rglob("*") if path.is_file()]:
                    stack.enter_context(path.open("rb"))
                    opened.append(path)
                time.sleep(0.2)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield opened
    finally:
        ended.set()
        thread.join()


def test_windows_checkout_and_open_files(zoo_cli, tiny, tmp_path: Path, checkout: Path) -> None:
    """A checkout of Windows lists its models and trains one while a scanner reads every file of the run."""
    assert b"\r\n" not in (checkout / "registry.yaml").read_bytes()
    cli = simulated(zoo_cli, checkout, ZOO_CACHE=str(tmp_path / "cache"))
    assert "resnet18_ln" in cli.ok("list").stdout
    runs = tmp_path / "runs"
    with reading(runs) as opened:
        output = cli.ok("bench", "resnet20_ln", *tiny)
    assert "test accuracy" in output.stderr
    assert {"history.csv", "state.pt"} <= {path.name for path in opened}
    result = json.loads((find_run(tmp_path, "resnet20_ln") / "result.json").read_bytes())
    assert result["environment"]["os"] == "Windows AMD64", "the simulation was not at work"
    assert not [path for path in runs.rglob(".*") if not path.name.endswith(".lock")]


WRITE = """
import sys
from pathlib import Path
from zoo.utils import disk
from zoo.utils.files import write_atomic
disk.PAUSES = disk.PAUSES[: int(sys.argv[2])]
try:
    write_atomic(Path(sys.argv[1]), b"new")
except Exception as problem:
    print(problem)
"""


def test_windows_open_file(tmp_path: Path) -> None:
    """What another process has open is replaced as soon as it is closed; what stays open ends in one line."""
    path = tmp_path / "result.json"
    path.write_bytes(b"old")
    with path.open("rb"):
        done = run_python(WRITE, path, 3)
        reason = "another program has it open, or the folder cannot be written to"
        assert done.stdout.startswith(
            f"{path}: {reason} (process {os.getpid()} has it open); choose another with runs FOLDER"
        )
        assert path.read_bytes() == b"old"
    file = path.open("rb")
    threading.Timer(1.0, file.close).start()
    assert run_python(WRITE, path, 9).stdout == ""
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


HOLD = """
import sys, time
from pathlib import Path
from zoo.errors import RunBusyError
from zoo.utils.lock import dead_holder, lock
folder = Path(sys.argv[1])
try:
    print(dead_holder(folder))
except FileNotFoundError:
    print("no lock")
try:
    with lock(folder):
        print("held", flush=True)
        if len(sys.argv) > 2:
            Path(sys.argv[2]).touch()
            time.sleep(60)
except RunBusyError:
    print("busy")
"""


def test_windows_lock(tmp_path: Path) -> None:
    """One process holds it; a killed one's is free, and nobody sends a signal to find out."""
    folder, ready = tmp_path / "seed0", tmp_path / "ready"
    environment = os.environ | ENCODINGS | {"PYTHONPATH": PATH}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, ready], env=environment, stdout=subprocess.PIPE
    ) as first:
        try:
            until = time.monotonic() + 60
            while not ready.exists():
                assert time.monotonic() < until
                time.sleep(0.02)
            assert run_python(HOLD, folder).stdout == "None\nbusy\n"
        finally:
            first.kill()
    assert run_python(HOLD, folder).stdout == f"{first.pid}\nheld\n"
    assert run_python(HOLD, folder).stdout == "no lock\nheld\n"
    target = tmp_path / "target"
    (tmp_path / ".seed0.lock").symlink_to(target)
    done = run_python(HOLD, folder)
    assert "is a link" in done.stderr
    assert not target.exists()


def test_windows_share_without_locks(tmp_path: Path) -> None:
    """There a lock is a file alone: of two processes that want a dead one, one holds it, and it is removed."""
    path = tmp_path / ".seed0.lock"
    path.write_text("77 node7 - - 0123456789abcdef")
    os.utime(path, (1, 1))
    environment = preloaded.environment(flock=errno.EINVAL) | ENCODINGS | {"PYTHONPATH": PATH}
    hold = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    command = [sys.executable, "-c", hold, tmp_path / "seed0", tmp_path / "ready"]
    racing = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0].split()[-1] for process in racing]
    assert sorted(answers) == ["busy", "held"]
    assert [left.name for left in tmp_path.iterdir()] == ["ready"]


SET_ASIDE = """
import os, sys
from pathlib import Path
from zoo.utils import disk
from zoo.utils.files import new_folder, write_new
page, rename = Path(sys.argv[1]), disk.rename
disk.rename = lambda one, other: os._exit(9) if other == page and not page.exists() else rename(one, other)
with new_folder(page) as fresh:
    write_new(fresh / "index.html", b"new")
    disk.put(fresh, page)
"""
BEGIN = """
import sys
from pathlib import Path
from zoo.utils.files import new_folder
with new_folder(Path(sys.argv[1])):
    print(Path(sys.argv[1], "index.html").read_text(encoding="utf-8"))
"""


def test_windows_puts_back_a_page_that_was_set_aside(tmp_path: Path) -> None:
    """A process that ends between the two renames leaves nothing in the page's place; the next one begins with it."""
    page = tmp_path / "report"
    page.mkdir()
    (page / "index.html").write_text("old")
    assert run_python(SET_ASIDE, page).returncode == 9
    assert not page.exists()
    assert run_python(BEGIN, page).stdout == "old\n"


LINKED = """
import os, sys
from pathlib import Path
from zoo.utils.disk import open_own
path = Path(sys.argv[1])
Path.is_symlink = lambda _: False  # as if the link had come after that look
open_own(path, os.O_RDWR)
"""


def test_windows_opens_no_link_that_came_after_the_look(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert "Too many levels of symbolic links" in run_python(LINKED, tmp_path / "link").stderr


@pytest.mark.parametrize("encoding", ["gbk", "big5"])
def test_gbk_and_big5_consoles(zoo_cli, encoding: str) -> None:
    """A character that the console lacks is escaped."""
    environment = zoo_cli.environment | ENCODINGS | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*zoo_cli.command, "list"], env=environment, cwd=zoo_cli.folder, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "selection: test" in done.stdout.decode(encoding, errors="replace")


@pytest.mark.slow
def test_commands_on_a_windows(windows_cli, tiny, tmp_path: Path) -> None:
    """A killed bench is resumed to the same bits beside a server, and each command does what it does elsewhere."""
    reference = tmp_path / "reference"
    reference.mkdir()
    windows_cli.ok("bench", "resnet20_ln", *tiny, cwd=reference)
    process = windows_cli.start("bench", "resnet20_ln", *tiny)
    for line in process.stderr:
        if line.strip().startswith("1/2 "):
            break
    process.kill()
    process.communicate()
    server = windows_cli.start("serve", "--port", "0")
    try:
        address = server.stdout.readline().split()[0]
        port = int(address.rpartition(":")[2].strip("/"))
        assert "resumes after epoch" in windows_cli.ok("bench", "resnet20_ln", *tiny).stderr
        check_same(find_run(tmp_path, "resnet20_ln"), find_run(reference, "resnet20_ln"), resumes=1)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        until = time.monotonic() + 60
        while b"resnet20_ln" not in page_of(connection) and time.monotonic() < until:
            time.sleep(0.5)
        assert b"resnet20_ln" in page_of(connection)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert "resnet20_ln" in windows_cli.ok("compare").stdout
    for _ in range(2):  # the second takes the place of the first
        output = windows_cli.ok("report")
        assert output.stderr == "" or "warning" not in output.stderr
    windows_cli.ok("tune", "resnet20_ln", *tiny, "--trials", "2")
    run = find_run(tmp_path, "resnet20_ln")
    for command in (
        ("evaluate", "runs"), ("explain", run), ("explain", run), ("plot", "curves"),
        ("data", "show", "shapes10"), ("data", "clear", "shapes10", "--yes"),
        ("new", "norm", "mine"), ("speed", "resnet20_ln", "--recipe", "smoke"),
        ("bench", "resnet20_ln", *tiny, "--restart"),
    ):  # fmt: skip
        windows_cli.ok(*command)
    assert not [path for path in tmp_path.rglob(".*") if not path.name.endswith(".lock")]


def page_of(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/")
    return connection.getresponse().read()


@pytest.mark.slow
def test_the_quick_suite_passes_in_a_windows_checkout(checkout: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
        "--deselect",
        "tests/cli/test_wheel.py",
    ]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
