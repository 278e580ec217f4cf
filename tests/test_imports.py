"""One order of packages, no circles, nothing loose in the root of the package, and tests that mirror it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
ABOUT_THE_REPOSITORY = {"docs", "support"}  # folders of tests/ that mirror no part of zoo/


@pytest.fixture(scope="module")
def circles() -> ModuleType:
    """``.ci/circles.py``, which CI runs by itself."""
    spec = importlib.util.spec_from_file_location("circles", ROOT / ".ci" / "circles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_no_circle_of_modules_or_packages(circles: ModuleType) -> None:
    modules = circles.module_graph()
    assert len(modules) > 150, "the search has lost the package"
    assert circles.circles(modules) == []
    assert circles.circles(circles.package_graph(modules)) == []


def test_the_search_for_circles_finds_one(circles: ModuleType) -> None:
    graph = {"zoo.a.x": {"zoo.b.y"}, "zoo.b.y": {"zoo.b.z"}, "zoo.b.z": {"zoo.a.w"}, "zoo.a.w": set()}
    assert circles.circles(graph) == []
    assert circles.circles(circles.package_graph(graph)) == [["zoo.a", "zoo.b"]]
    assert circles.circles(graph | {"zoo.a.w": {"zoo.a.x"}}) == [["zoo.a.w", "zoo.a.x", "zoo.b.y", "zoo.b.z"]]


def test_the_contract_of_setup_cfg_holds() -> None:
    command = [sys.executable, "-c", LINT_IMPORTS, "--no-cache"]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stdout + report.stderr
    assert "1 kept, 0 broken" in report.stdout


def test_four_modules_lie_in_the_root_of_the_package() -> None:
    assert {path.stem for path in (ROOT / "zoo").glob("*.py")} == {"__init__", "__main__", "api", "errors"}


def test_tests_mirror_the_package() -> None:
    """A folder of tests has the name of a package or module; a file in the root is about the repository."""
    parts = {path.stem for path in (ROOT / "zoo").iterdir()}
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    mirrored = {folder.parts[0] for folder in folders if folder.parts} - ABOUT_THE_REPOSITORY
    assert mirrored <= parts
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "pytest needs names of files that are unique"
