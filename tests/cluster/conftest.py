"""What tests of sweeps share: the command line with Ray's settings, and clusters of several nodes on 127.0.0.1."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def sweeps(zoo_cli: Any) -> Any:
    """`zoo_cli` with one thread everywhere, as workers have, and a Ray that keeps to 127.0.0.1 and to itself."""
    quiet = {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # its word for: listen on 127.0.0.1 only
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    return dataclasses.replace(zoo_cli, environment=zoo_cli.environment | quiet)


@dataclasses.dataclass
class Nodes:
    """A cluster in a process of its own, see ray_nodes.py."""

    process: subprocess.Popen[str]
    address: str

    def kill(self, worker: int) -> None:
        """Take the node of that process away, and wait until its processes are gone."""
        self.process.stdin.write(f"kill {worker}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "gone\n"


@pytest.fixture
def nodes(sweeps: Any) -> Iterator[Callable[..., Nodes]]:
    """``nodes(1, 1)`` starts a cluster of a head and of nodes with so many CPUs; it is gone after the test."""
    with contextlib.ExitStack() as stack:

        def start(*cpus: int) -> Nodes:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, HERE / "ray_nodes.py", *map(str, cpus)],
                    env=sweeps.environment,
                    text=True,
                    start_new_session=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(stop, process)
            address = process.stdout.readline().strip()
            assert address.startswith("127.0.0.1:"), "the cluster did not start, or elsewhere than on 127.0.0.1"
            return Nodes(process, address)

        yield start


def stop(process: subprocess.Popen[str]) -> None:
    """Its way first, then by force."""
    process.stdin.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
