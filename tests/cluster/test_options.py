"""What ``--cluster``, ``--resources`` and ``--slurm`` take, and what they say to a mistake."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from zoo.cli.options import worded
from zoo.cluster.backend import open_backend
from zoo.cluster.options import PACKAGES, Resources, parse
from zoo.errors import MachineError, UnknownNameError, ZooError, sentence


@contextlib.contextmanager
def refused(pattern: str) -> Iterator[None]:
    """A MachineError is raised that reads so on the command line."""
    with pytest.raises(MachineError) as problem:
        yield
    assert re.search(pattern, sentence(problem.value.parts, worded))


def test_what_is_given_is_what_runs_get():
    cluster = parse("ray:10.0.0.1:6379", "cpu=4,gpu=0.5", ())
    assert (cluster.backend, cluster.address) == ("ray", "10.0.0.1:6379")
    assert cluster.for_device("cuda") == Resources(4, 0.5)
    assert str(cluster.for_device("cuda")) == "cpu=4,gpu=0.5"


def test_a_gpu_is_taken_where_the_device_is_one():
    cluster = parse("slurm", None, ("partition=gpu", "time=60"))
    assert cluster.address is None
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


@pytest.mark.parametrize("time", ["2:00:00", "0.5", "0", "1h", "true"])
def test_time_is_whole_minutes(time, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("shutil.which", lambda name: name)  # there is a Slurm
    cluster = parse("slurm", None, (f"time={time}",))
    with refused(r"^--slurm time=.*: expected whole minutes, as in time=120$"):
        open_backend(cluster, Resources(), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rey", None, ()), "did you mean 'ray'"),
        (("ray:", None, ()), "the address is missing"),
        (("slurm:local", None, ()), "did you mean 'slurm'?"),
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
    assert told in sentence(problem.value.parts, worded)
    assert "\n" not in str(problem.value)


def test_gpus_that_cannot_be():
    with refused("give --device cpu, or gpu=1"):
        parse("ray", "gpu=0", ()).for_device("cuda")
    with refused(r"^--resources gpu=0\.5: .* there is no GPU here; give --device cuda, or"):
        parse("ray", "gpu=0.5", ()).for_device("cpu")
    with refused("Slurm gives whole GPUs"):
        parse("slurm", "gpu=0.5", ()).for_device("cuda")


@pytest.mark.parametrize(("backend", "package"), PACKAGES.items())
def test_a_missing_package_is_said_with_the_command_that_installs_it(backend, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else pytest.fail(name))
    with refused(f"^--cluster {backend}: {package} is not installed; pip install {package}$"):
        parse(backend, None, ())


def test_unknown_is_an_unknown_name():
    with pytest.raises(UnknownNameError):
        parse("kubernetes", None, ())
