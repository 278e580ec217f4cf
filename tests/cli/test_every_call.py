"""zoo is killed, or the disk fails, at every file system call that changes something (row 15 of the borders).

After each: no file is damaged; the next start of the same command gives what an undisturbed one gives, and leaves
nothing behind. A fork of a warm process with a preloaded library is killed by the real signal at the real call.
"""

from __future__ import annotations

import errno
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import preloaded
import pytest
from PIL import Image
from run_files import check_same
from web_runs import make_run

from zoo.data.cache import damage
from zoo.engine.checkpoint import load_state, load_weights
from zoo.results.folder import load_result
from zoo.results.history import load_history
from zoo.results.predictions import load_predictions

KILL = 0
FAULTS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
NORMALIZE = "Normalize: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}"
CHANGES = ("split={holdout: 16, seed: 0}", f"augment={{train: [{NORMALIZE}], eval: [{NORMALIZE}]}}", "batch_size=16",
           "precision=fp32", "epochs=2", "schedule={name: constant, warmup_epochs: 0}", "optimizer.lr=0.1")  # fmt: skip
REGISTRY = 'architectures:\n  mini: {builder: "zoo.models.resnet_cifar:resnet_cifar", kwargs: {depth: 8, width: 4}}\n'
TRAINING = ("mini_bn", "--recipe", "standard", "--dataset", "images", "--layout", "nchw",
            *(word for change in CHANGES for word in ("--set", change)))  # fmt: skip
READERS: dict[str, Callable[[Path], Any]] = {
    "result.json": load_result,
    "history.csv": load_history,
    "state.pt": load_state,
    "model.safetensors": load_weights,
    "predictions.npz": load_predictions,
}


class Server:
    """The process that forks; see ``tests/support/fault_server.py``."""

    def __init__(self, environment: dict[str, str]) -> None:
        script = Path(preloaded.__file__).with_name("fault_server.py")
        self._process = subprocess.Popen(
            [sys.executable, script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, **request: Any) -> Any:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all tests; every fork has its folder's own cache."""
    server = Server(preloaded.environment() | {"OMP_NUM_THREADS": "1"})
    yield server
    server.close()


def images(folder: Path) -> None:
    """A dataset of two classes as an image folder."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")


@dataclass
class Case:
    """A command, what is there before it, and where it has written afterwards.

    `same` compares with the undisturbed outcome; `done` are words of a refusal that says that all is there already.
    """

    server: Server
    folder: Path
    command: tuple[str, ...]
    same: Callable[[Path, Path], None]
    done: str = ""

    def run(self, folder: Path, n: int = 0, error: int = 0) -> Any:
        """In a copy of what was there before."""
        return self.server(folder=str(folder), arguments=list(self.command), n=n, error=error)

    def copy(self, name: str) -> Path:
        """A fresh copy, always at the same place, since files may hold paths."""
        place = self.folder.with_name(name)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder, place, symlinks=True)
        (place / "tmp").mkdir()
        return place


def check_undamaged(folder: Path, before: Path, after: Path) -> None:
    """Every file that has its name is as before, as afterwards, or whole by its reader."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in inside.parts) or inside.parts[0] == "tmp":
            continue
        if path.name in READERS:
            READERS[path.name](path)
        elif inside.parts[:2] == ("cache", "decoded"):  # another entry in each copy of the images
            assert damage(folder.joinpath(*inside.parts[:3])) is None
        elif "report" not in inside.parts and not path.name.startswith("study.db"):
            contents = [(place / inside).read_bytes() for place in (before, after) if (place / inside).is_file()]
            assert path.read_bytes() in contents, f"{inside} is damaged"
    if (folder / "report").exists():  # a whole page: all of its files, and no other
        written = json.loads((folder / "report" / "zoo-report.json").read_text())["files"]
        files = {str(path.relative_to(folder / "report")) for path in (folder / "report").rglob("*") if path.is_file()}
        assert files == {*written, "zoo-report.json"}


def check_every_call(case: Case, figure: Callable[..., None], chosen: Callable[[list[str]], list[int]],
                     errors: Callable[[int], tuple[int, ...]]) -> None:  # fmt: skip
    """Disturb the calls with the `chosen` numbers by the `errors` for each; 1 is the first call."""
    after = case.copy("after")
    undisturbed = case.run(after)
    assert undisturbed["code"] == 0, undisturbed["stderr"]
    after = after.rename(after.with_name("undisturbed"))
    left_before = set(after.rglob(".*")) | set((after / "tmp").iterdir())
    assert not left_before
    tried: Counter[str] = Counter()
    for n in chosen(undisturbed["calls"]):
        for error in errors(n):
            what = f"{'kill' if error == KILL else errno.errorcode[error]} at {n}, {undisturbed['calls'][n - 1]}"
            folder = case.copy("after")
            outcome = case.run(folder, n, error)
            if error == KILL:
                assert outcome["code"] == -signal.SIGKILL, (what, outcome)
            else:
                assert outcome["code"] in (0, 2), (what, outcome["stderr"])
                assert "Traceback" not in outcome["stderr"], (what, outcome["stderr"])
                lines = [line for line in outcome["stderr"].splitlines() if line.startswith("zoo: ")]
                assert len(lines) == (outcome["code"] == 2), (what, outcome["stderr"])
            try:
                check_undamaged(folder, case.folder, after)
                again = case.run(folder)
                assert again["code"] == 0 or (case.done and case.done in again["stderr"]), again["stderr"]
                case.same(folder, after)
                left = [*folder.rglob(".*"), *(folder / "tmp").iterdir()]
                assert not left, "left behind"
            except Exception as problem:
                raise AssertionError(what) from problem
            tried["kills" if error == KILL else "faults"] += 1
    for kind, count in tried.items():
        figure(f"{kind} at file system calls, tried and held", count)
        figure(f"`zoo {case.command[0]}`: {kind} tried and held", count)


def all_calls(calls: list[str]) -> list[int]:
    """Every one."""
    return list(range(1, len(calls) + 1))


def each_kind(calls: list[str]) -> list[int]:
    """The last call of each kind."""
    return sorted({call.split()[0]: number for number, call in enumerate(calls, 1)}.values())


def in_turn(n: int) -> tuple[int, ...]:
    """One of the ways."""
    return ((KILL, *FAULTS)[n % 5],)


def kill_and_one(n: int) -> tuple[int, ...]:
    """A kill, and one of the faults."""
    return KILL, FAULTS[n % 4]


def all_ways(n: int) -> tuple[int, ...]:
    """A kill and every fault."""
    return KILL, *FAULTS


def equal_bytes(folder: Path, reference: Path) -> None:
    """The same files with the same bytes."""
    trees = [
        {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (folder, reference)
    ]
    assert trees[0].keys() == trees[1].keys()
    assert [name for name in trees[0] if trees[0][name] != trees[1][name]] == []


def equal_files(folder: Path, reference: Path) -> None:
    """The same names: a page has the minute in which it was made."""
    names = [sorted(str(path.relative_to(place)) for path in place.rglob("*")) for place in (folder, reference)]
    assert names[0] == names[1]


def cached(folder: Path, reference: Path) -> None:
    """The sheet, and a whole cache."""
    assert (folder / "sheet.png").read_bytes() == (reference / "sheet.png").read_bytes()
    (entry,) = (folder / "cache" / "decoded").iterdir()
    assert damage(entry) is None


def same_run(folder: Path, reference: Path) -> None:
    """The weights, the history and the result."""
    (run,), (other) = (list((place / "runs").glob("*/*/*/seed0")) for place in (folder, reference))
    check_same(run, other[0])
    assert [path.name for path in run.parent.iterdir()] == ["seed0"]


def same_study(folder: Path, reference: Path) -> None:
    """The recipe that came out, and a database without damage."""
    recipes = [next((place / "runs").rglob("*-tuned.yaml")) for place in (folder, reference)]
    assert recipes[0].read_bytes() == recipes[1].read_bytes()
    files = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == [recipes[0].name, "study.db"]
    with sqlite3.connect(next(path for path in files if path.name == "study.db")) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a case begins."""
    folder = tmp_path / "before"
    folder.mkdir()
    return folder


@pytest.fixture
def written(server: Server, place: Path) -> Callable[[str], Case]:
    """The cases that train nothing, by name; the server has their imports."""

    def make(name: str) -> Case:
        case = cold(name)
        answer = server(warm=True, folder=str(case.copy("warm")), arguments=list(case.command))
        assert answer["code"] == 0, answer["stderr"]
        return case

    def cold(name: str) -> Case:
        if name == "new":
            command = ("new", "norm", "mine", "--into", "packages")
            return Case(server, place, command, equal_bytes, "is there already")
        if name == "data":
            images(place / "images")
            return Case(server, place, ("data", "show", "images", "--out", "sheet.png"), cached)
        make_run(place / "runs", "bn")
        if name == "plot":
            return Case(server, place, ("plot", "bars", "--format", "svg"), equal_bytes)
        assert server(folder=str(place), arguments=["report"], n=0, error=0)["code"] == 0
        make_run(place / "runs", "ln")
        return Case(server, place, ("report",), equal_files)

    return make


@pytest.mark.parametrize("name", ["new", "data", "report"])
def test_one_call_of_each_kind(written: Callable[[str], Case], figure, name: str) -> None:
    check_every_call(written(name), figure, each_kind, in_turn)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new", "data", "report", "plot"])
def test_every_call(written: Callable[[str], Case], figure, name: str) -> None:
    check_every_call(written(name), figure, all_calls, kill_and_one if name == "report" else all_ways)


@pytest.fixture
def trained(server: Server, place: Path) -> Callable[..., Case]:
    """The cases of a model that is trained, with its images decoded."""
    (place / "registry.yaml").write_text(REGISTRY)
    images(place / "images")
    warm = place.with_name("warm")
    shutil.copytree(place, warm)
    answer = server(warm=True, folder=str(warm), arguments=["bench", *TRAINING])
    assert answer["code"] == 0, answer["stderr"]
    shutil.copytree(warm / "cache", place / "cache")

    def make(command: tuple[str, ...], same: Callable[[Path, Path], None], *, done: bool = False) -> Case:
        if done:
            shutil.copytree(warm / "runs", place / "runs")
        run = [str(path.parent.relative_to(warm)) for path in warm.rglob("result.json")]
        return Case(server, place, tuple(run[0] if word == "RUN" else word for word in command), same)

    return make


@pytest.mark.slow
def test_every_call_of_a_bench(trained: Callable[..., Case], figure) -> None:
    check_every_call(trained(("bench", *TRAINING), same_run), figure, all_calls, kill_and_one)


@pytest.mark.slow
def test_every_call_of_an_export(trained: Callable[..., Case], figure) -> None:
    case = trained(("export", "RUN", "--to", "safetensors", "--dataset", "images"), equal_bytes, done=True)
    check_every_call(case, figure, all_calls, kill_and_one)


@pytest.mark.slow
def test_one_call_of_each_kind_of_an_explanation(trained: Callable[..., Case], figure) -> None:
    case = trained(("explain", "RUN", "--dataset", "images"), equal_bytes, done=True)
    check_every_call(case, figure, each_kind, in_turn)


@pytest.mark.slow
def test_calls_of_tuning(trained: Callable[..., Case], figure) -> None:
    """Each third call of zoo's own, and of SQLite's hundreds each sixty-first."""

    def chosen(calls: list[str]) -> list[int]:
        return [n for n, call in enumerate(calls, 1) if n % (61 if "study.db" in call else 3) == 0]

    check_every_call(trained(("tune", *TRAINING, "--trials", "2"), same_study), figure, chosen, in_turn)
