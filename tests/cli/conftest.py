"""What tests of a command share that run it many times over the same trained runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def zoo(inline_cli: Any, benched: SimpleNamespace) -> Callable[..., Any]:
    """``zoo ARGUMENTS`` in this process, in the folder of the test file's own trained runs, `benched`, and its data."""
    cli = dataclasses.replace(inline_cli, folder=benched.folder)

    def run(*arguments: Any, code: int = 0, cwd: Path | None = None) -> Any:
        output = cli(*arguments, cwd=cwd, ZOO_DATA=str(benched.folder / "data"))
        assert output.returncode == code, output.stderr
        return output

    return run
