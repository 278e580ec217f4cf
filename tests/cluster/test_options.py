"""What ``--cluster``, ``--resources`` and ``--slurm`` take, and what they say to a mistake."""

from __future__ import annotations

import pytest

from zoo.cluster.backends import open_engine
from zoo.cluster.options import PACKAGES, Resources, parse
from zoo.errors import MachineError, UnknownNameError, ZooError


def test_what_is_given_is_what_runs_get():
    cluster = parse("ray:10.0.0.1:6379", "cpu=4,gpu=0.5", ())
    assert (cluster.engine, cluster.where) == ("ray", "10.0.0.1:6379")
    assert cluster.for_device("cuda") == Resources(4, 0.5)
    assert str(cluster.for_device("cuda")) == "cpu=4,gpu=0.5"


def test_a_gpu_is_taken_where_the_device_is_one():
    cluster = parse("slurm", None, ("partition=gpu", "time=60"))
    assert cluster.where is None
    assert cluster.slurm == {"partition": "gpu", "time": 60}
    assert cluster.for_device("cpu") == Resources(1, 0)
    assert cluster.for_device("cuda") == Resources(1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [("60", 60), ("2:00:00", "2:00:00"), ("00123", "00123"), ("0.5", 0.5), ("true", True), ("[a, b]", ["a", "b"]),
     ("2026-11-29", "2026-11-29"), ("gpu", "gpu")],
)  # fmt: skip
def test_only_what_looks_like_a_number_is_one(text, value):
    assert parse("slurm", None, (f"account={text}",)).slurm == {"account": value}


def test_local_processes_have_no_gpus_of_their_own(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(MachineError, match="slurm:local keeps no two runs from one GPU; give --cluster ray"):
        open_engine(parse("slurm:local", None, ()), Resources(1, 1), tmp_path, 1)


@pytest.mark.parametrize("time", ["2:00:00", "0.5", "0", "1h", "true"])
def test_time_is_whole_minutes(time, tmp_path):
    pytest.importorskip("submitit")
    cluster = parse("slurm:local", None, (f"time={time}",))
    with pytest.raises(MachineError, match=r"^--slurm time=.*: expected whole minutes, as in time=120$"):
        open_engine(cluster, Resources(), tmp_path, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rey", None, ()), "did you mean 'ray'"),
        (("ray:", None, ()), "the address is missing"),
        (("slurm:loca", None, ()), "did you mean 'slurm:local'"),
        (("ray", "cpus=2", ()), "did you mean 'cpu'"),
        (("ray", "cpu=0", ()), "a run needs a core"),
        (("ray", "cpu=1.5", ()), "whole cores"),
        (("ray", "gpu=-1", ()), "--resources gpu=-1"),
        (("ray", "gpu=yes", ()), "expected a number"),
        (("ray", "cpu", ()), "--resources cpu: expected name=value"),
        (("ray", None, ("partition=gpu",)), "--slurm goes with --cluster slurm"),
        (("slurm", None, ("partition",)), "--slurm partition: expected name=value"),
    ],
)
def test_a_mistake_is_one_line(arguments, told):
    with pytest.raises(ZooError) as problem:
        parse(*arguments)
    assert told in str(problem.value)
    assert "\n" not in str(problem.value)


def test_gpus_that_cannot_be():
    with pytest.raises(MachineError, match="give --device cpu, or gpu=1"):
        parse("ray", "gpu=0", ()).for_device("cuda")
    with pytest.raises(MachineError, match=r"^--resources gpu=0\.5: .* no GPU is seen here; give --device cuda, or"):
        parse("ray", "gpu=0.5", ()).for_device("cpu")
    with pytest.raises(MachineError, match="Slurm gives whole GPUs"):
        parse("slurm", "gpu=0.5", ()).for_device("cuda")


@pytest.mark.parametrize(("engine", "package"), PACKAGES.items())
def test_a_missing_package_is_said_with_its_extra(engine, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else pytest.fail(name))
    with pytest.raises(MachineError) as problem:
        parse(engine, None, ())
    assert str(problem.value) == f"--cluster {engine}: {package} is not installed; pip install 'norm-zoo[{engine}]'"


def test_unknown_is_an_unknown_name():
    with pytest.raises(UnknownNameError):
        parse("kubernetes", None, ())
