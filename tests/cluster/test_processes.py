"""``--jobs``: runs in processes of this machine, and the bytes of one after the other, whoever is killed on the way."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import turns
from run_files import check_same, find_run
from small_runs import furnish, options
from turns import Turn
from watched import Watched, descendants, wait_until_gone

from zoo.cluster.processes import Processes
from zoo.cluster.request import TaskEnd
from zoo.results.folder import load_result

MODEL, EPOCHS = "dot_ln", 80
JOBS = ("bench", MODEL, "--seeds", "2", *options(EPOCHS), "--jobs", "2")
ALONE = ("bench", MODEL, "--seeds", "2", *options(EPOCHS), "--threads", "1")
STATE = f"runs/*/*/{MODEL}/seed0/state.pt"


def ends(backend: Processes, count: int, seconds: float = 60) -> dict[int, TaskEnd | str]:
    """How so many requests ended; every process that the backend started is gone afterwards."""
    until, ended = time.monotonic() + seconds, {}
    try:
        while len(ended) < count:
            assert time.monotonic() < until
            ended |= dict(backend.wait(0.1))
    finally:
        mine = descendants(os.getpid())
        workers = {worker.process.pid for worker in backend._workers}
        backend.close()
    assert workers <= set(mine)
    for pid in workers:
        wait_until_gone(pid)
    return ended


def begun(folder: Path, name: str) -> set[int]:
    """The processes that left such a mark."""
    return {int(mark.name.split(".")[2]) for mark in folder.glob(f"*.{name}.*")}


def test_as_many_processes_as_jobs_do_all_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("zoo.cluster.processes.work", turns.done)
    backend = Processes(2)
    backend.submit([Turn(number, tmp_path) for number in range(5)])
    ended = ends(backend, 5)
    assert ended == {number: TaskEnd(number, "here", 0.1) for number in range(5)}
    assert len(begun(tmp_path, "done")) <= backend.slots() == 2
    assert capfd.readouterr().out == "", "stdout is for the table"


def test_a_run_whose_process_is_lost_is_begun_again(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.cluster.processes.work", turns.killed_once)
    backend = Processes(1)
    backend.submit([Turn(0, tmp_path), Turn(1, tmp_path)])
    assert all(isinstance(end, TaskEnd) for end in ends(backend, 2).values())
    assert [len(list(tmp_path.glob(f"{number}.begun.*"))) for number in (0, 1)] == [2, 2]


def test_a_run_that_ends_every_process_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.cluster.processes.work", turns.never_done)
    monkeypatch.setattr("zoo.cluster.processes.RETRIES", 1)
    backend = Processes(1)
    backend.submit([Turn(0, tmp_path)])
    assert ends(backend, 1) == {0: "its process ended 2 times (exit code 3)"}


def wait_for(folder: Path, name: str) -> int:
    """The process that leaves such a mark."""
    until = time.monotonic() + 60
    while not (processes := begun(folder, name)):
        assert time.monotonic() < until
        time.sleep(0.01)
    return processes.pop()


def test_a_cancelled_run_ends_as_after_ctrl_c(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.cluster.processes.work", turns.long)
    backend = Processes(1)
    backend.submit([Turn(0, tmp_path)])
    assert list(backend.wait(0)) == []
    process = wait_for(tmp_path, "begun")
    backend.cancel()
    wait_until_gone(process)
    assert begun(tmp_path, "left") == {process}


def test_no_process_outlives_a_killed_sweep(tmp_path):
    command = f"import turns; turns.begin({str(tmp_path)!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    sweep = subprocess.Popen([sys.executable, "-c", command], env=os.environ | {"PYTHONPATH": paths})
    try:
        process = wait_for(tmp_path, "begun")
    finally:
        sweep.kill()
        sweep.wait()
    wait_until_gone(process)
    assert begun(tmp_path, "left") == {process}


@pytest.fixture(scope="module")
def reference(module_cli):
    """The same two seeds, one after the other."""
    furnish(module_cli.folder)
    module_cli.ok(*ALONE)
    return module_cli.folder


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "sweep", None])
def test_runs_side_by_side_have_the_bytes_of_one_after_the_other(zoo_cli, reference, killed, figure):
    furnish(zoo_cli.folder)
    with Watched(zoo_cli, *JOBS) as sweep:
        saved = sweep.wait_for_file(STATE)
        workers = sweep.workers()
        if killed:
            assert not saved.with_name("result.json").exists(), "it was too quick to be killed"
            os.kill(workers[0] if killed == "worker" else sweep.process.pid, signal.SIGKILL)
        if killed == "sweep":
            sweep.process.wait(60)
            for pid in workers.values():
                wait_until_gone(pid)
        code, table = sweep.end(300)
    if killed == "sweep":
        again = zoo_cli.ok(*JOBS)
        assert "attempt" not in again.stderr
        table = again.stdout
    else:
        assert code == 0, sweep.text
        (summary,) = sweep.wait_for("^2 runs: 0 done before, 2 done now")
        assert f"retries: {int(killed == 'worker')}, lost: 0" in summary
    assert MODEL in table
    assert "\u2021" in table
    for seed in (0, 1):
        check_same(find_run(sweep.folder, MODEL, seed), find_run(reference, MODEL, seed), resumes=None if killed else 0)
    assert {path.name for path in (sweep.folder / "runs").iterdir()} >= {"images"}
    figure("runs identical", 2)


@pytest.mark.slow
def test_ctrl_c_ends_all_and_the_same_command_goes_on(zoo_cli, reference, figure):
    furnish(zoo_cli.folder)
    with Watched(zoo_cli, *JOBS) as sweep:
        sweep.wait_for_file(STATE)
        workers = sweep.workers()
        os.killpg(sweep.process.pid, signal.SIGINT)
        code, table = sweep.end(60)
    assert (code, table) == (130, ""), sweep.text
    assert "Traceback" not in sweep.text
    (told,) = sweep.wait_for("To resume: ")
    assert shlex.split(told.split("To resume: ")[1]) == ["zoo", *JOBS]
    for pid in workers.values():
        wait_until_gone(pid)
    assert {path.name for path in (sweep.folder / "runs").iterdir()} == {"images"}
    zoo_cli.ok(*JOBS)
    for seed in (0, 1):
        check_same(find_run(sweep.folder, MODEL, seed), find_run(reference, MODEL, seed), resumes=None)
    figure("interruptions survived")


EIGHT = (
    "bench", "resnet20_ln", "resnet20_gn", "--recipe", "smoke", "--seeds", "4", "--layout", "nchw",
    "--set", "epochs=25", "--set", "schedule.peak_epoch=5",
)  # fmt: skip


@pytest.mark.slow
def test_auto_is_no_slower_than_one_at_a_time_and_has_its_bytes(zoo_cli, tmp_path, figure):
    """Eight runs of about a minute each, three times in turns. It has to be idle otherwise, for an hour."""
    unset = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    environment = {name: text for name, text in zoo_cli.environment.items() if name not in unset}
    cli = dataclasses.replace(zoo_cli, environment=environment)

    def seconds(name: str, *more: str) -> float:
        (tmp_path / name).mkdir()
        start = time.perf_counter()
        output = cli(*EIGHT, *more, cwd=tmp_path / name, timeout=7200)
        assert output.returncode == 0, output.stderr
        return time.perf_counter() - start

    turns_taken = [(seconds(f"one {turn}"), seconds(f"auto {turn}", "--jobs", "auto")) for turn in range(3)]
    ratio = statistics.median(auto / one for one, auto in turns_taken)
    figure("--jobs auto over --jobs 1", f"{ratio:.2f}; seconds of one and auto: {turns_taken}")
    assert ratio <= 1.05
    threads = load_result(find_run(tmp_path / "auto 0", "resnet20_ln") / "result.json").environment["threads"]
    seconds("same", "--threads", str(threads))
    for model in ("resnet20_ln", "resnet20_gn"):
        for seed in range(4):
            check_same(find_run(tmp_path / "auto 0", model, seed), find_run(tmp_path / "same", model, seed))
