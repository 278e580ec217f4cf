"""``--cluster slurm``: submitit's local processes for real, and what sbatch would be given."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from run_files import check_same, find_run
from small_runs import furnish, options
from watched import Watched, wait_until_gone

from zoo.cluster.options import Resources, parse
from zoo.cluster.slurm import Slurm
from zoo.errors import MachineError, UnknownNameError

MODEL = "dot_ln"
COMMAND = ("bench", MODEL, *options(80))
STATE = f"runs/*/*/{MODEL}/seed0/state.pt"
LOCAL = ("--cluster", "slurm:local", "--slurm", "time=30")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL], ids=["preempted", "killed"])
def test_a_job_that_is_taken_off_goes_on(sweeps, tmp_path_factory, number, figure):
    """SIGUSR2 is what Slurm sends before a job's time is over or its node is wanted: submitit queues it again."""
    here = tmp_path_factory.mktemp("here")
    for folder in (here, sweeps.folder):
        furnish(folder)
    with Watched(sweeps, *COMMAND, *LOCAL) as sweep:
        saved = sweep.wait_for_file(STATE)
        os.kill(sweep.workers()[0], number)
        assert not saved.with_name("result.json").exists(), "it was too quick to be taken off"
        sweeps.ok(*COMMAND, cwd=here)
        code, table = sweep.end(240)
    assert code == 0, sweep.text
    assert MODEL in table
    (summary,) = sweep.wait_for("^1 runs: 0 done before, 1 done now")
    assert "retries: 1, lost: 0" in summary
    check_same(find_run(sweep.folder, MODEL, 0), find_run(here, MODEL, 0), resumes=1)
    assert {path.name for path in (sweep.folder / "runs").iterdir()} == {"images"}, "logs or marks are left"
    figure(f"sweep by slurm:local, job {number.name}", summary)
    figure("runs identical")


@pytest.mark.slow
def test_ctrl_c_takes_the_jobs_along(sweeps):
    furnish(sweeps.folder)
    with Watched(sweeps, *COMMAND, *LOCAL) as sweep:
        sweep.wait_for_file(STATE)
        worker = sweep.workers()[0]
        sweep.process.send_signal(signal.SIGINT)
        code, _ = sweep.end(60)
    assert code == 130, sweep.text
    wait_until_gone(worker)
    assert (find_run(sweep.folder, MODEL, 0) / "state.pt").is_file()


def test_more_processes_than_cores_are_refused(tmp_path):
    with pytest.raises(MachineError, match=r"starts its 1000 runs all at once, each with cpu=2, .*give cluster ray"):
        Slurm(parse("slurm:local", None, ()), Resources(2), tmp_path, 1000)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def cluster_tools(tmp_path, monkeypatch):
    """A folder of stand-ins on the path: `sbatch` keeps what it is given and answers as Slurm does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", f'cp "$1" {tmp_path}/sbatch.sh; echo Submitted batch job 17'), ("srun", "exit 1")):
        file = folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_what_sbatch_is_given(cluster_tools):
    """No Slurm is here: this is as far as it can be followed without one."""
    cluster = parse("slurm", "cpu=4,gpu=1", ("partition=gpu", "time=90", "account=me"))
    backend = Slurm(cluster, cluster.for_device("cuda"), cluster_tools / "runs", 3)
    backend.submit([type("Request", (), {"number": number})() for number in range(3)])
    text = (cluster_tools / "sbatch.sh").read_text()
    for flag in ("array=0-2%3", "partition=gpu", "time=90", "account=me", "cpus-per-task=4", "gpus-per-node=1",
                 "requeue", "job-name=zoo"):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in text
    assert "-c4" in next(line for line in text.splitlines() if line.startswith("srun"))
    assert f"{cluster_tools}/runs/.slurm/" in text
    assert backend.slots() is None


def test_options_of_slurm_are_checked(cluster_tools):
    with pytest.raises(UnknownNameError, match="did you mean 'partition'"):
        Slurm(parse("slurm", None, ("partitoin=gpu",)), Resources(), Path("runs"), 1)
    with pytest.raises(MachineError, match="zoo sets that itself; give resources cpu=N"):
        Slurm(parse("slurm", None, ("cpus_per_task=4",)), Resources(), Path("runs"), 1)
    with pytest.raises(MachineError, match="slurm:local knows only time"):
        Slurm(parse("slurm:local", None, ("partition=gpu",)), Resources(), Path("runs"), 1)


def test_no_slurm_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="there is no srun here"):
        Slurm(parse("slurm", None, ()), Resources(), tmp_path, 1)
