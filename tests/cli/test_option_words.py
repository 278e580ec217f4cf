"""Options of the command line are named in `zoo.cli` alone: elsewhere a message carries them as `zoo.errors.Option`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo

ROOT = Path(zoo.__file__).parent
APART = {
    "export/card.py",  # a model card shows commands
    "web/runpage.py", "web/writer.py",  # a page sets variables of CSS
}  # fmt: skip
PACKAGES = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("cli", "__pycache__"))


def literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string of `tree` but docstrings; of an f-string its text."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node


def named_in(*paths: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{literal.lineno}: {literal.value}"
        for path in paths
        if path.relative_to(ROOT).as_posix() not in APART
        for literal in literals(ast.parse(path.read_text()))
        if re.search("--[a-zA-Z]", literal.value)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_but_the_command_line_names_an_option(package: str) -> None:
    assert named_in(*sorted((ROOT / package).rglob("*.py"))) == []


def test_nor_does_a_module_beside_the_packages() -> None:
    assert named_in(*sorted(ROOT.glob("*.py"))) == []
