"""The package in this folder, as a stranger has it: its wheel, installed in a fresh environment, used, and removed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

DEMO = Path(__file__).with_name("zoo-norm-demo")
REPOSITORY = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment without plugins, which sees this one's packages and this source tree."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", environment, cwd=environment.parent)
    (packages,) = environment.glob("lib/python*/site-packages")
    paths = [str(REPOSITORY), *dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))]
    (packages / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return environment / "bin" / "python"


@pytest.mark.slow
def test_build_install_use_and_remove(zoo_cli, python: Path, tiny: tuple[str, ...], tmp_path: Path) -> None:
    source = shutil.copytree(DEMO, tmp_path / "source")  # a build leaves files beside what it builds
    cli = type(zoo_cli)(tmp_path, command=(str(python), "-m", "zoo"))
    before = cli.ok("list").stdout
    assert "demo" not in before

    isolation = ["--no-isolation"] if find_spec("setuptools") else []
    run(sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", tmp_path / "wheels", cwd=source)
    (wheel,) = (tmp_path / "wheels").glob("zoo_norm_demo-0.1.0-*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)

    (line,) = [line for line in cli.ok("list", "--origin").stdout.splitlines() if line.split()[:1] == ["demo"]]
    assert f"plugin: {python.parents[1]}" in line
    assert line.endswith("zoo_norm_demo/registry.yaml:3 of zoo-norm-demo 0.1.0")
    assert "norm demo" in cli.ok("plugins").stdout
    bench = cli.ok("bench", "resnet20_bn", "resnet20_demo", *tiny)
    assert [line.split()[1] for line in bench.stdout.splitlines() if line.startswith("resnet20_")] == ["bn", "demo"]
    assert "resnet20_demo" in cli.ok("compare").stdout
    assert "2 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=source)

    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "zoo-norm-demo", cwd=tmp_path)
    assert cli.ok("list").stdout == before
    assert "resnet20_demo" in cli.ok("compare").stdout  # what was measured stays
    gone = cli("bench", "resnet20_demo", *tiny)
    assert gone.returncode == 2
    assert gone.lines[0].startswith("zoo: unknown model 'resnet20_demo'")
