"""The built wheel, installed elsewhere and used from an empty folder, with no source tree in sight."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
RUN = "zoo/published/shapes10/stand-in-00000000/resnet20_bn/seed0"
PUBLISHED = [f"{RUN}/{name}" for name in ("result.json", "history.csv", "predictions.npz")]
RECIPES = ["eva6s8", "fast", "laptop", "smoke", "standard"]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _setuptools() -> int:
    """The major version that this environment has; 0 where there is none."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return int(metadata.version("setuptools").split(".")[0])
    return 0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks or would track, so that no build folder of old helps."""
    copy = tmp_path_factory.mktemp("source")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=REPOSITORY)
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name, follow_symlinks=False)
    for name in PUBLISHED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"")
    return copy


def build(checkout: Path, out: Path, *what: str) -> Path:
    """The wheel built from the `checkout`: by way of a source distribution unless `what` says ``--wheel``."""
    isolation = ["--no-isolation"] if _setuptools() >= 69 else []  # as pyproject.toml requires
    run(sys.executable, "-m", "build", *what, *isolation, "--outdir", out, cwd=checkout)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and, of this one, the dependencies but not its own zoo."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", environment, cwd=environment.parent)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=environment.parent)
    # A folder named in a .pth file is searched, but .pth files in it are not read: so the editable zoo stays out.
    (packages,) = environment.glob("lib/python*/site-packages")
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return environment / "bin"


@pytest.fixture
def wheel_cli(zoo_cli, installed: Path):
    """The console script of that environment, in an empty folder."""
    return type(zoo_cli)(zoo_cli.folder, command=(str(installed / "zoo"),))


def test_it_is_the_installed_one(installed: Path, tmp_path: Path):
    found = run(installed / "python", "-c", "import zoo, torch; print(zoo.__file__)", cwd=tmp_path).strip()
    assert Path(found).is_relative_to(installed.parent)


def test_published_runs_are_in_it(wheel: Path):
    assert set(PUBLISHED) <= set(zipfile.ZipFile(wheel).namelist())


def test_every_file_that_is_no_code_is_in_it(wheel: Path):
    packed = set(zipfile.ZipFile(wheel).namelist())
    beside = [path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "zoo").rglob("*") if path.is_file()]
    beside = [name for name in beside if not name.endswith((".py", ".pyc"))]
    assert any(name.endswith("page.css") for name in beside)
    assert "zoo/py.typed" in packed
    assert [name for name in beside if name not in packed] == []


def test_windows_checkout_holds_no_link_and_its_wheels_hold_the_registry(wheel: Path, checkout: Path, tmp_path: Path):
    """Where git makes no links, a link becomes a text file with the other's name in it."""
    kinds = {line.split()[0] for line in run("git", "ls-files", "--stage", cwd=REPOSITORY).splitlines()}
    assert "120000" not in kinds
    registry = (REPOSITORY / "registry.yaml").read_bytes()
    for built in (wheel, build(checkout, tmp_path, "--wheel")):
        assert zipfile.ZipFile(built).read("zoo/registry.yaml") == registry
    assert not (checkout / "zoo" / "registry.yaml").exists(), "a build wrote into the source"


@pytest.mark.slow
def test_report(wheel_cli):
    assert "runs" in wheel_cli.ok("report", REPOSITORY / "benchmarks" / "results").stdout
    assert (wheel_cli.folder / "report" / "static" / "page.css").is_file()


def test_list(wheel_cli, installed: Path):
    wide = dataclasses.replace(wheel_cli, environment=wheel_cli.environment | {"COLUMNS": "400"})
    output = wide.ok("list", "--origin")
    words = [line.split()[0] for line in output.stdout.splitlines() if line.strip()]
    for name in ("ln", "resnet18", "resnet18_ln", *RECIPES):
        assert name in words
    (ln,) = [line for line in output.stdout.splitlines() if line.split()[:1] == ["ln"]]
    assert f"built in: {installed.parent}" in ln
    assert str(REPOSITORY) not in output.stdout


@pytest.mark.slow
def test_show(wheel_cli):
    assert "11,173,962" in wheel_cli.ok("show", "resnet18_ln").stdout


def test_a_norm_of_ones_own(wheel_cli, tiny):
    (wheel_cli.folder / "registry.yaml").write_text('norms:\n  mine: "my_norm:mine"\n')
    (wheel_cli.folder / "my_norm.py").write_text(
        "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.GroupNorm(num_channels // 4, num_channels)\n"
    )
    assert "mine" in wheel_cli.ok("list").stdout
    assert "resnet20_mine " in wheel_cli.ok("bench", "resnet20_mine", *tiny).stdout
    (result,) = wheel_cli.folder.glob("runs/shapes10/smoke-*/resnet20_mine/seed0/result.json")
    assert json.loads(result.read_text())["model"]["norm"] == "mine"
