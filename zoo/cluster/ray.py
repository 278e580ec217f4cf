"""Ray as the engine: a cluster on this machine for the time of one command, or one that is there already."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from zoo.cluster.options import RETRIES, Resources
from zoo.cluster.request import Outcome, Request, work
from zoo.errors import MachineError
from zoo.utils.cpu import usable_cores

STORE = 80 * 2**20  # bytes of Ray's object store, near its least: requests and outcomes are small
GRACE = 10.0  # seconds for cancelled runs to let go of their folders


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at ``HOST:PORT``; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


class Ray:
    """One task for each run; Ray queues them, and begins one again whose worker or node is lost."""

    def __init__(self, address: str | None, resources: Resources) -> None:
        """Join the cluster at `address` (``auto``, ``HOST:PORT``), or start one that this machine alone can reach.

        Raises :class:`MachineError` where there is none, or no node of a cluster here has the `resources`.
        """
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        if address is None:
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # its own word for: listen on 127.0.0.1 only
            # Other users of this machine reach that too, so a cluster has a key of its own, which is in no file.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray

        self._ray, self._resources, self._tasks = ray, resources, {}
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        before = signal.getsignal(signal.SIGTERM)  # Ray takes it
        try:
            if address is None:
                ray.init(
                    "local", num_cpus=usable_cores(), include_dashboard=False, object_store_memory=STORE,
                    _node_ip_address="127.0.0.1", **quiet,
                )  # fmt: skip
            else:
                _knock(address)
                ray.init(address, **quiet)
        except Exception as problem:  # Ray raises whatever its parts do
            line = " ".join(str(problem).split())[:300]
            whose = "no cluster can be started here" if address is None else f"no cluster at {address}"
            raise MachineError(f"--cluster ray: {whose} ({type(problem).__name__}: {line})") from problem
        finally:
            signal.signal(signal.SIGTERM, before)
        self.where = "a Ray cluster of this machine" if address is None else f"the Ray cluster at {address}"
        if not self.slots():
            nodes = "; ".join(
                ", ".join(f"{name} {node['Resources'].get(name, 0):g}" for name in ("CPU", "GPU"))
                for node in self._nodes()
            )
            self.close()
            raise MachineError(f"--cluster ray: no node has {resources} for one run (nodes: {nodes})")

    def submit(self, requests: Sequence[Request]) -> None:
        """See :class:`zoo.cluster.backend.Engine`."""
        task = self._ray.remote(
            num_cpus=self._resources.cpu, num_gpus=self._resources.gpu, max_retries=RETRIES, retry_exceptions=False
        )(work)
        self._tasks = {task.options(name=f"{one.model} seed {one.seed}").remote(one): one.number for one in requests}

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome | str]]:
        """See :class:`zoo.cluster.backend.Engine`."""
        ready, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=seconds)
        for task in ready:
            try:
                outcome = self._ray.get(task)
            except self._ray.exceptions.RayError as problem:
                outcome = f"{type(problem).__name__}: {str(problem).strip()}"
            yield self._tasks.pop(task), outcome

    def slots(self) -> int:
        """See :class:`zoo.cluster.backend.Engine`."""
        cpu, gpu = self._resources.cpu, self._resources.gpu
        total = 0
        for node in self._nodes():
            has = node["Resources"]
            fits = int(has.get("CPU", 0) // cpu)
            total += min(fits, int(has.get("GPU", 0) / gpu)) if gpu else fits
        return total

    def cancel(self) -> None:
        """See :class:`zoo.cluster.backend.Engine`."""
        for task in self._tasks:
            self._ray.cancel(task)
        self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=GRACE)

    def close(self) -> None:
        """See :class:`zoo.cluster.backend.Engine`."""
        self._ray.shutdown()

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]
