"""The machine's faults: one clear line, earlier results as they were, and the same command goes on.

What is disturbed while it runs is a process; what finds the damage and goes on afterwards is this one.

Every test has a finished run of ``resnet20_bn`` and disturbs the one of ``resnet20_ln``.
"""

from __future__ import annotations

import csv
import ctypes
import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import check_same, find_run, snapshot

DONE, DISTURBED = "resnet20_bn", "resnet20_ln"
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes; what a file takes of a tmpfs is a multiple of it


@pytest.fixture(scope="module")
def command(tiny) -> tuple[str, ...]:
    """Both runs, augmented in this process, so that worker processes have something to be compared with."""
    return ("bench", DONE, DISTURBED, *tiny, "--executor", "albumentations", "--workers", "0")


@pytest.fixture(scope="module")
def reference(module_inline, command) -> Path:
    """The folder of both runs, undisturbed."""
    module_inline.ok(*command)
    return module_inline.folder


@dataclass(frozen=True)
class Site:
    """A folder with the first run in it, where something happens to the second."""

    cli: Any
    inline: Any
    command: tuple[str, ...]
    reference: Path
    earlier: dict[str, tuple[int, bytes]]
    figure: Callable[..., None]

    @property
    def folder(self) -> Path:
        """Of the run that is disturbed; made when it is not there."""
        folder = find_run(self.cli.folder, DONE).parent.with_name(DISTURBED) / "seed0"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start(self, until: str, *options: str, **changes: Any) -> tuple[subprocess.Popen[str], list[str]]:
        """Start the command and read it until a line of its progress begins with `until`; the lines so far."""
        process, lines = dataclasses.replace(self.cli, **changes).start(*self.command, *options), []
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if line.strip().startswith(until):
                return process, lines
        raise AssertionError(f"no line {until!r}:\n" + "\n".join(lines))

    def fault(self, code: int, stdout: str, lines: list[str], *says: str | Path) -> None:
        """It ended in one line that says so, and what was there before is as it was."""
        assert not [line for line in lines if "Traceback" in line], "\n".join(lines)
        assert [line for line in lines if line.startswith("zoo: ")] == lines[-1:], "\n".join(lines)
        assert (code, stdout) == (2, "")
        for part in says:
            assert str(part) in lines[-1]
        self.intact()

    def ended(self, process: subprocess.Popen[str], lines: list[str], *says: str | Path) -> None:
        """Wait for what :meth:`start` started, which ends in a fault."""
        stdout, stderr = process.communicate(timeout=120)
        self.fault(process.returncode, stdout, lines + stderr.splitlines(), *says)

    def refused(self, *says: str | Path) -> None:
        """The command, from its start to a fault."""
        output = self.inline(*self.command)
        self.fault(output.returncode, output.stdout, output.lines, *says)

    def intact(self) -> None:
        """Nobody touched the finished run."""
        assert snapshot(find_run(self.cli.folder, DONE)) == self.earlier

    def mended(self, *options: str, says: str = "", resumes: int | None = None, **changes: Any) -> None:
        """The same command finishes, and the run that was disturbed has the bytes of one that never was.

        In a process of its own where `changes` says what is otherwise there.
        """
        cli = dataclasses.replace(self.cli, **changes) if changes else self.inline
        output = cli.ok(*self.command, *options)
        assert says in output.stderr
        check_same(self.folder, find_run(self.reference, DISTURBED), resumes)
        self.intact()
        assert not list(self.cli.folder.rglob(".*.lock"))
        self.figure("faults survived, earlier results intact")
        self.figure("runs identical")


@pytest.fixture
def site(zoo_cli, inline_cli, reference, command, figure) -> Site:
    """Only the first run is done."""
    done = find_run(reference, DONE)
    shutil.copytree(done, zoo_cli.folder / done.relative_to(reference))
    return Site(zoo_cli, inline_cli, command, reference, snapshot(done), figure)


@pytest.fixture(scope="module")
def interrupted(module_cli, module_inline, reference, command, tmp_path_factory) -> bytes:
    """A good ``state.pt``, of a process that was killed."""
    cli = dataclasses.replace(module_cli, folder=tmp_path_factory.mktemp("interrupted"))
    process, _ = Site(cli, module_inline, ("bench", DISTURBED, *command[3:]), reference, {}, print).start("1/2 ")
    process.kill()
    process.communicate()
    return (find_run(cli.folder, DISTURBED) / "state.pt").read_bytes()


# A full disk


@pytest.fixture
def small_disk(site) -> Iterator[Path]:
    """`site`'s runs on a disk of 16 MiB; skips where nothing may be mounted: the limit of a file is tested anyway."""
    folder = site.cli.folder / "runs"
    kept = folder.rename(folder.with_name("kept"))
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=16m", "zoo-test", str(folder))
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, room: int) -> Path:
    """A file that leaves `room` bytes of `disk`."""
    space, filler = os.statvfs(disk), disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (space.f_bavail - room // space.f_frsize) * space.f_frsize)
    return filler


def pages(*files: Path) -> int:
    """Bytes that these take of a disk."""
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in files)


@pytest.mark.slow
def test_full_disk(site, small_disk):
    """First when the second epoch is saved, which takes as much again as the first; then when the result is."""
    site = dataclasses.replace(site, earlier=snapshot(find_run(site.cli.folder, DONE)))
    finished = find_run(site.reference, DISTURBED)
    weights = finished / "model.safetensors"
    filler = fill(small_disk, 3 * pages(weights))  # a state is weights and momentum
    site.refused(f"{DISTURBED}/seed0/state.pt: no space left on the disk; free some, then run the same command again")
    assert {path.name for path in site.folder.iterdir()} == {"state.pt", "history.csv"}

    filler.unlink()
    process, lines = site.start("2/2 ")
    assert "  resumes after epoch 1 of 2" in lines
    filler = fill(small_disk, pages(weights, finished / "predictions.npz"))
    site.ended(process, lines, f"{DISTURBED}/seed0/result.json: no space left on the disk; free some")
    assert {path.name for path in site.folder.iterdir()} == {
        "state.pt", "history.csv", "model.safetensors", "predictions.npz",
    }  # fmt: skip

    filler.unlink()
    site.mended(says="resumes after epoch 2 of 2", resumes=2)


@pytest.mark.parametrize("file", ["state.pt", pytest.param("model.safetensors", marks=pytest.mark.slow)])
def test_limit_of_a_file(site, file):
    """``ulimit -f``, which needs no rights: too low for the state, and lowered before the result is stored."""
    weights = (find_run(site.reference, DISTURBED) / "model.safetensors").stat().st_size
    if file == "state.pt":
        process, lines = site.start("cpu", prepare=lambda: limit(0, 3 * weights // 2))
    else:
        process, lines = site.start("2/2 ")
        limit(process.pid, weights // 2)
    site.ended(process, lines, f"{DISTURBED}/seed0/{file}: a file may not be that large here (see `ulimit -f`)")
    assert not list(site.folder.glob(".*"))
    if file != "state.pt":
        site.mended(says="resumes after epoch 2 of 2", resumes=1)


def limit(process: int, size: int) -> None:
    """Let `process` (0: this one) write no file beyond `size` bytes."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, size))


def test_full_disk_where_the_table_goes(site):
    """``zoo compare > table`` on a full disk."""
    shell = ("sh", "-c", 'exec "$@" > /dev/full', "sh")
    output = dataclasses.replace(site.cli, command=shell + site.cli.command)("compare")
    assert len(output.lines) == 1
    site.fault(output.returncode, output.stdout, output.lines, "the output cannot be written (No space left on device)")


# A read-only folder


@pytest.fixture
def bound() -> Callable[[], None]:
    """What makes permissions count for a process of root too; skips where that cannot be had."""
    libc = ctypes.CDLL(None, use_errno=True)

    def obey() -> None:
        if os.geteuid() == 0:
            libc.prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE

    return obey


@pytest.mark.parametrize(
    "moment",
    [
        "before",
        "in-a-run",
        *(pytest.param(moment, marks=pytest.mark.slow) for moment in ("no-folder", "read-only-disk")),
    ],
)
def test_read_only_folder(site, request, bound, moment):
    """Known before anything is trained, where it was so from the start; it can also happen in between."""
    folder = site.folder
    locked = folder
    if moment == "no-folder":
        folder.rmdir()
        locked = folder.parent
    if moment == "read-only-disk":
        disk = request.getfixturevalue("small_disk")
        site = dataclasses.replace(site, earlier=snapshot(find_run(site.cli.folder, DONE)))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        site.refused(f"{DISTURBED}/seed0: cannot be written to; choose another with --runs FOLDER")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        return site.mended()
    process, lines = (None, [])
    try:
        if moment == "in-a-run":
            process, lines = site.start("1/2 ", prepare=bound)
        locked.chmod(0o555)
        writable = subprocess.run(
            [sys.executable, "-c", "import os, sys; sys.exit(os.access(sys.argv[1], os.W_OK))", locked],
            preexec_fn=bound, check=False,
        ).returncode  # fmt: skip
        if writable:
            pytest.skip("this process is root, may write everywhere and cannot give that up")
        if process is None:
            process = dataclasses.replace(site.cli, prepare=bound).start(*site.command)
        says = {
            "before": f"{DISTURBED}/seed0: cannot be written to; choose another with --runs FOLDER",
            "no-folder": f"{DISTURBED}/seed0: cannot be made (Permission denied); choose another with --runs FOLDER",
            "in-a-run": "the folder cannot be written to (Permission denied); choose another with --runs FOLDER",
        }
        site.ended(process, lines, says[moment])
    finally:
        locked.chmod(0o755)
        if process is not None:
            process.kill()
            process.communicate()
    if moment == "in-a-run":
        site.mended(says="resumes after epoch", resumes=1)


# Damaged files


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def hostile(state: Path, mark: Path) -> None:
    """Code among what a state holds."""
    torch.save(torch.load(state, weights_only=True) | {"peak": Harmful(mark)}, state)


def newer(state: Path, mark: Path) -> None:
    """As a later zoo writes it."""
    torch.save(torch.load(state, weights_only=True) | {"version": 99}, state)


def cut(state: Path, mark: Path) -> None:
    """Half of it."""
    os.truncate(state, state.stat().st_size // 2)


def empty(state: Path, mark: Path) -> None:
    """Nothing of it, as some file systems leave a file after a power cut."""
    os.truncate(state, 0)


def flipped(state: Path, mark: Path) -> None:
    """One bit among the weights, which no reader stumbles over."""
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 0x10
    state.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (hostile, "cannot be read ("),
        pytest.param(newer, "has version 99, this zoo reads", marks=pytest.mark.slow),
        pytest.param(cut, "cannot be read (", marks=pytest.mark.slow),
        pytest.param(empty, "cannot be read (", marks=pytest.mark.slow),
        pytest.param(flipped, "cannot be read (archive/data", marks=pytest.mark.slow),
    ],
)
def test_damaged_state(site, interrupted, tmp_path, damage, says):
    """Refused, left as it is for whoever wants to look; --restart goes without it, and a good one goes on."""
    state, mark = site.folder / "state.pt", tmp_path / "ran"
    state.write_bytes(interrupted)
    damage(state, mark)
    before = snapshot(site.folder)
    site.refused(f"{DISTURBED}/seed0/state.pt: the saved state {says}", "; add --restart to start this run again")
    assert snapshot(site.folder) == before
    assert not mark.exists()
    if damage is hostile:
        torch.load(state, weights_only=False)
        assert mark.exists(), "the file was harmless, so nothing was shown"
        site.figure("faults survived, earlier results intact")
    elif damage is flipped:
        state.write_bytes(interrupted)
        site.mended(says="resumes after epoch", resumes=1)
    else:
        state.unlink()
        site.mended(resumes=0)


def edit(**changes: Any) -> Callable[[str], str]:
    """Some figures of the test set or, where it has no such figure, of the whole result."""

    def changed(text: str) -> str:
        result = json.loads(text)
        for key, value in changes.items():
            (result["test"] if key in result["test"] else result)[key] = value
        return json.dumps(result, indent=1)

    return changed


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (edit(accuracy=0.9), "test: accuracy 0.9, but "),
        pytest.param(edit(accuracy="high"), "test.accuracy: ", marks=pytest.mark.slow),
        pytest.param(edit(accuracy=0.5, correct=500), "test: 500 correct of 1000 images, but the confusion matrix says",
                     marks=pytest.mark.slow),
        pytest.param(edit(schema_version=99), "has schema version 99, this zoo reads up to ", marks=pytest.mark.slow),
        pytest.param(lambda text: text[: len(text) // 2], "not valid JSON (", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_damaged_result(site, damage, says):
    """A stored result is not trusted, and not written over either."""
    shutil.copytree(find_run(site.reference, DISTURBED), site.folder, dirs_exist_ok=True)
    path = site.folder / "result.json"
    good = path.read_text()
    path.write_text(damage(good))
    before = snapshot(site.folder)
    site.refused(f"{path.relative_to(site.cli.folder)}: {says}")
    assert snapshot(site.folder) == before
    path.write_text(good)
    site.mended(says="was done before", resumes=0)


# Other processes


def test_lock_of_a_killed_process(site):
    """The file that it leaves holds nothing, though its number now belongs to another process."""
    done = find_run(site.cli.folder, DONE)
    code = (
        "import os, signal, sys; from pathlib import Path; from zoo.utils.lock import lock\n"
        "with lock(Path(sys.argv[1])):\n os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(done)])
    assert killed.wait(60) == -signal.SIGKILL
    left = done.with_name(".seed0.lock")
    assert left.read_text() == str(killed.pid)
    left.write_text(str(os.getpid()))
    output = site.inline.ok("bench", DONE, *site.command[3:])
    assert "was done before" in output.stderr
    assert not left.exists()
    site.intact()
    site.figure("faults survived, earlier results intact")


def test_lock_on_a_full_disk(tmp_path):
    """It holds without the number that it has no room for: what is done can still be read."""
    code = (
        "import resource, sys; from pathlib import Path; from zoo.utils.lock import lock\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with lock(Path(sys.argv[1])):\n"
        " print('held')\n"
        " with lock(Path(sys.argv[1])): pass"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, check=False)
    assert done.stdout == "held\n"
    assert "another zoo (process unknown) is at this run" in done.stderr
    assert not list(tmp_path.iterdir())


def worker_processes(process: int) -> list[int]:
    """The forks of `process`; what else it starts has another command line."""
    mine = Path(f"/proc/{process}/cmdline").read_bytes()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children if Path(f"/proc/{child}/cmdline").read_bytes() == mine]


def test_killed_worker(site):
    """As the system does when memory is full. With fewer workers, the same command goes on."""
    for _ in range(5):
        process, lines = site.start("1/2 ", "--workers", "2")
        process.send_signal(signal.SIGSTOP)  # two steps take no time; it is to be hit while it trains
        if workers := worker_processes(process.pid):
            break
        process.kill()
        process.communicate()
        shutil.rmtree(site.folder)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    site.ended(process, lines, f"{DISTURBED} seed 0: a loader process was killed (Killed), most likely because",
               "give fewer --workers: the same command resumes after the last finished epoch")  # fmt: skip
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    site.mended("--workers", "1", says="resumes after epoch 1 of 2", resumes=1)


# Numbers and clocks


NAN = """from torch import nn


class Nan(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) / (self.num_batches_tracked < 3)


def nan(num_channels):
    return Nan(num_channels)
"""


def test_loss_that_is_not_a_number(site):
    """One model of two diverges in its second epoch: recorded, shown, and the other is as it was."""
    (site.cli.folder / "registry.yaml").write_text('norms:\n  nan: "nan_norm:nan"\n')
    (site.cli.folder / "nan_norm.py").write_text(NAN)
    output = site.inline.ok("bench", DONE, "resnet20_nan", *site.command[3:])
    rows = [line for line in output.stdout.splitlines() if line.startswith("resnet20_")]
    assert rows[0].startswith(f"{DONE} ")
    assert "seed 0 diverged at epoch 2" in rows[1]
    result = json.loads((find_run(site.cli.folder, "resnet20_nan") / "result.json").read_text())
    assert (result["status"], result["diverged_epoch"], result["epochs_trained"]) == ("diverged", 2, 1)
    assert result["test"] is None
    assert {path.name for path in find_run(site.cli.folder, "resnet20_nan").iterdir()} == {"result.json", "history.csv"}
    site.intact()
    site.figure("faults survived, earlier results intact")


CLOCK = """import random, time

real, jumps = time.time, random.Random()
time.time = lambda: real() + jumps.uniform(-3e6, 3e6)  # a month to and fro
time.time_ns = lambda: int(1e9 * time.time())
"""


@pytest.mark.parametrize("kill", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_clock_that_jumps(site, tmp_path, kill):
    """Neither the bits nor the durations know the time of day; a saved state may be from the future."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join(filter(None, (str(tmp_path / "clock"), os.environ.get("PYTHONPATH"))))
    environment = site.cli.environment | {"PYTHONPATH": path}
    shown = "import time; print(*(time.time() for _ in range(9)))"
    times = subprocess.run([sys.executable, "-c", shown], env=environment, capture_output=True, text=True, check=True)
    assert (numbers := [float(word) for word in times.stdout.split()]) != sorted(numbers), "the clock does not jump"
    start = time.monotonic()
    if kill:
        process, _ = site.start("1/2 ", environment=environment)
        process.kill()
        process.communicate()
        for file, year in ((site.folder / "state.pt", 2100), (site.folder / "history.csv", 1980)):
            os.utime(file, (seconds := (year - 1970) * 365.25 * 24 * 3600, seconds))
    site.mended(environment=environment)
    elapsed = time.monotonic() - start
    assert 0 < json.loads((site.folder / "result.json").read_text())["wall_seconds"] < elapsed
    rows = list(csv.DictReader((site.folder / "history.csv").read_text().splitlines()))
    seconds = [float(row[name]) for row in rows for name in ("train_seconds", "eval_seconds")]
    assert min(seconds) > 0
    assert sum(seconds) < elapsed
