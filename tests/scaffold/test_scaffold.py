"""`zoo new`: the package it writes is whole and clean, and a name that would not do is refused."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from zoo.errors import MachineError, RegistryError
from zoo.registry.merge import load_registry
from zoo.scaffold import KINDS, nearest_name, write

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests" / "registry" / "zoo-norm-demo"


@pytest.mark.parametrize("name", ["x", "my_own2", "abcdefghijklmnopqrstuvwxyz1234"])
def test_what_is_written_is_clean(name: str, tmp_path: Path) -> None:
    """As it is, by its own settings and by zoo's, for the shortest and the longest names."""
    for kind in KINDS:
        folder = tmp_path / f"zoo-{kind}-{name}"
        written = write(kind, name, tmp_path)
        assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
        assert not [path for path in written if "$" in path.read_text()]
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["name"] == folder.name
        (points,) = project["entry-points"].values()
        package, _, file = points[name].partition(":")
        content = yaml.safe_load((folder / "src" / package / file).read_text())
        assert content["extends"] == "laptop" if kind == "recipe" else name in content[f"{kind}s"]
    for command in (
        ["check"],
        ["check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "D1"],
        ["format", "--check"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_is_such_a_package(tmp_path: Path) -> None:
    """The package in tests/registry is what `zoo new norm demo` writes, but for the norm itself and its line."""
    for path in write("norm", "demo", tmp_path):
        mine = DEMO / path.relative_to(tmp_path / DEMO.name)
        if path.parent.name != "zoo_norm_demo":
            assert mine.read_text() == path.read_text(), mine
        else:
            assert mine.is_file()


def test_the_command(zoo_cli, tmp_path: Path) -> None:
    output = zoo_cli.ok("new", "norm", "mynorm", "--into", "some/where")
    folder = tmp_path / "some" / "where" / "zoo-norm-mynorm"
    shown = output.stdout.splitlines()
    assert sorted(shown[:5]) == sorted(str(path.relative_to(tmp_path)) for path in folder.rglob("*") if path.is_file())
    assert "zoo bench resnet20_bn resnet20_mynorm --recipe smoke" in shown
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = zoo_cli("new", "norm", "mynorm", "--into", "some/where")
    assert again.returncode == 2
    assert again.lines == [
        "zoo: some/where/zoo-norm-mynorm is there already; remove it, or give another folder with --into"
    ]
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("norm", "My-Norm", "my_norm"),
        ("norm", "2x", "norm_2x"),
        ("norm", "_a__b_", "a_b"),
        ("norm", "true", "true_norm"),
        ("recipe", "", "recipe"),
        ("recipe", "é", "recipe"),
        ("architecture", "a/../b", "a_b"),
        ("architecture", "x" * 40, "x" * 30),
    ],
)
def test_a_name_that_will_not_do(kind: str, name: str, near: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        write(kind, name, tmp_path)
    assert str(caught.value).endswith(f"; take {near!r}")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert write(kind, near, tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("norm", "bn", "norm 'bn' is there already: "),
        ("architecture", "resnet18", "architecture 'resnet18' is there already: "),
        ("recipe", "smoke", "recipe 'smoke' is there already: "),
        (
            "norm",
            "w16_ln",
            "model 'resnet18_w16_ln' can be read as resnet18 with norm w16_ln or resnet18_w16 with norm ln",
        ),
        ("architecture", "resnet18_ws", "model 'resnet18_ws_gn' would hide the pair resnet18_ws with gn"),
    ],
)
def test_a_name_that_is_taken(kind: str, name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="; take another name") as caught:
        write(kind, name, tmp_path)
    assert told in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_suggestion_is_valid() -> None:
    for kind in KINDS:
        for name in [
            *load_registry().norms,
            "A.b",
            "9",
            "__",
            "None",
            "lambda",
            "-" * 50,
            "9" * 50,
            "true_",
            "con",
            "x" * 30 + "_y",
        ]:
            near = nearest_name(kind, name)
            assert nearest_name(kind, near) == near


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"file.*: cannot be written: Not a directory"):
        write("norm", "mine", tmp_path / "file")
