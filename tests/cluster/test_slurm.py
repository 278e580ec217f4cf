"""``--cluster slurm``: what sbatch would be given."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zoo.cluster.options import Resources, parse
from zoo.cluster.slurm import Slurm
from zoo.errors import MachineError, UnknownNameError


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
    backend = Slurm(cluster, cluster.for_device("cuda"), cluster_tools / "runs")
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
        Slurm(parse("slurm", None, ("partitoin=gpu",)), Resources(), Path("runs"))
    with pytest.raises(MachineError, match="zoo sets that itself; give resources cpu=N"):
        Slurm(parse("slurm", None, ("cpus_per_task=4",)), Resources(), Path("runs"))


def test_no_slurm_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MachineError,
        match=r"there is no srun here; .*, or give jobs auto to run here",
    ):
        Slurm(parse("slurm", None, ()), Resources(), tmp_path)
