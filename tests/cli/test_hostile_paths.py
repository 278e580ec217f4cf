"""Paths that are none, over every option that names one of every command: one line each, without ``main()``'s net."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Root would enter every folder.
RIGHTS = "-dac_override,-dac_read_search"
PLAIN_USER = ("setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}") if os.geteuid() == 0 else ()


@pytest.mark.skipif(bool(PLAIN_USER) and not shutil.which("setpriv"), reason="root, and no setpriv")
@pytest.mark.parametrize("how", ["sample", pytest.param("whole", marks=pytest.mark.slow)])
def test_paths_that_are_none_are_one_line(zoo_cli, figure, how: str) -> None:
    program = Path(__file__).with_name("hostile_paths.py")
    environment = zoo_cli.environment | {"HOME": str(zoo_cli.folder), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [*PLAIN_USER, sys.executable, program, how], cwd=zoo_cli.folder, env=environment, capture_output=True, text=True
    )
    *wrong, last = done.stdout.splitlines() or [done.stderr]
    assert wrong == []
    tried, held = (int(word) for word in last.replace("tried ", "").split(", held "))
    assert tried == held > (1000 if how == "whole" else 50)
    figure("hostile paths tried", tried)
    figure("hostile paths held", held)
