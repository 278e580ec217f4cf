"""Adding a built-in norm takes three files: its code, a line of registry.yaml, its definition in the tests.

Each test does so in a copy of the tree. Written pages are written anew, and no other file names or counts norms.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = '''"""A norm that a test adds."""

from torch import nn


def throwaway(num_channels: int) -> nn.Module:
    """Normalise (N, num_channels, H, W) over all channels of an image."""
    return nn.GroupNorm(1, num_channels)
'''
ENTRY = """\
  throwaway:
    builder: "zoo.norms.throwaway:throwaway"
    label: Thrown away
    batch_independent: true
    paper: "arXiv:1607.06450"
"""
# The counts, the messages that list norms, and the definition that the norm is held to.
QUICK = (
    "tests/norms/test_norms.py", "tests/registry/test_registry.py", "tests/test_readme.py", "-k",
    "throwaway and definition or every_norm_has or unknown_norm or count",
)  # fmt: skip
# The page that counts norms is written first, in the same process: torch takes seconds to import.
PAGE_AND_TESTS = """
import runpy
import sys
from pathlib import Path

import pytest

pages = runpy.run_path("docs/make_pages.py")
Path("docs/built-in.md").write_text("\\n".join(pages["_built_in"]()))
sys.exit(pytest.main(sys.argv[1:]))
"""
# Whatever goes over the built-in norms, or says how many there are.
WHOLE = (
    "tests/builder/test_fairness.py", "tests/cli/test_commands.py", "tests/docs/test_site.py",
    "tests/explain/test_gradcam.py", "tests/models", "tests/norms", "tests/registry/test_registry.py",
    "tests/test_frozen.py", "tests/test_readme.py", "tests/trained/test_robustness.py",
)  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree that has the norm."""
    folder = tmp_path / "tree"
    folder.mkdir()
    tracked = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, text=True
    )
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    (folder / "zoo" / "norms" / "throwaway.py").write_text(CODE)
    registry = folder / "registry.yaml"
    before, architectures = registry.read_text().split("\narchitectures:\n")
    registry.write_text(f"{before}{ENTRY}\narchitectures:\n{architectures}")
    definitions = folder / "tests" / "norms" / "norm_definitions.py"
    text = definitions.read_text()
    assert text.count("DEFINITIONS = {\n") == 1
    definitions.write_text(text.replace("DEFINITIONS = {\n", 'DEFINITIONS = {\n    "throwaway": ln,\n'))
    return folder


def python(folder: Path, *arguments: str) -> str:
    """Run python in `folder` with the package that lies there; standard output and errors."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST_", "ZOO_REGISTRY"))}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment | {"PYTHONPATH": str(folder)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_new_norm_passes_its_tests(tree: Path) -> None:
    report = python(tree, "-c", PAGE_AND_TESTS, "-q", "-p", "no:cacheprovider", "-rA", *QUICK)
    for test in ("match_the_definition[67-throwaway-True-train]", "every_norm_has", "unknown_norm", "counts_norms"):
        assert test in report


@pytest.mark.slow
def test_nothing_else_names_or_counts_norms(tree: Path) -> None:
    python(tree, "docs/make_pages.py")
    python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WHOLE)
