"""Notebooks that are executed by a real kernel, which listens on 127.0.0.1 alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install 'norm-zoo[test]'")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel: pip install 'norm-zoo[test]'")

TIMEOUT = 300  # seconds a cell may take on a busy machine


def execute(
    book: Any,
    folder: Path,
    environment: Mapping[str, str],
    after_cell: Callable[[Any], None] | None = None,
    **options: Any,
) -> Any:
    """Execute `book` in the empty `folder` with nbclient's `options`; the manager of its kernel, which is gone then.

    `after_cell` is called with the manager after each cell.
    """
    environment = {
        **environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        client = nbclient.NotebookClient(
            book, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, **options
        )
        manager = client.create_kernel_manager()
        manager.ip = "127.0.0.1"
        if after_cell:
            client.on_cell_executed = lambda **_: after_cell(manager)
        client.execute(env=environment)
    return manager
