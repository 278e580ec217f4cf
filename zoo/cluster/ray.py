"""The backend Ray: a cluster on this machine for the time of one command, or a running one."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zoo.cluster.options import RETRIES, Resources
from zoo.cluster.request import Request, TaskEnd, work
from zoo.errors import MachineError, Option
from zoo.utils.cpu import usable_cores
from zoo.utils.text import named

if TYPE_CHECKING:
    from ray import ObjectRef

STORE = 80 * 2**20  # bytes of Ray's object store, close to its minimum: requests and what comes back are small
GRACE = 10.0  # seconds for cancelled runs to release their folders
CLUSTER = Option("cluster", "ray")


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

        self._ray, self._resources = ray, resources
        self._tasks: dict[ObjectRef[TaskEnd], int] = {}  # task -> number of its request
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
            whose = "no cluster can be started here" if address is None else f"no cluster at {address}"
            raise MachineError(CLUSTER, f": {whose} ({named(problem)})") from problem
        finally:
            signal.signal(signal.SIGTERM, before)
        self.where = "a Ray cluster of this machine" if address is None else f"the Ray cluster at {address}"
        if not self.slots():
            nodes = "; ".join(
                ", ".join(f"{name} {node['Resources'].get(name, 0):g}" for name in ("CPU", "GPU"))
                for node in self._nodes()
            )
            self.close()
            raise MachineError(CLUSTER, f": no node has {resources} for one run (nodes: {nodes})")

    def submit(self, requests: Sequence[Request]) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        task = self._ray.remote(
            num_cpus=self._resources.cpu, num_gpus=self._resources.gpu, max_retries=RETRIES, retry_exceptions=False
        )(work)
        for request in requests:
            named = task.options(name=f"{request.model} seed {request.seed}")
            self._tasks[named.remote(request)] = request.number

    def wait(self, seconds: float) -> Iterable[tuple[int, TaskEnd | str]]:
        """See :class:`zoo.cluster.backend.Backend`."""
        ready, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=seconds)
        for task in ready:
            try:
                end: TaskEnd | str = self._ray.get(task)
            except self._ray.exceptions.RayError as problem:
                end = f"{type(problem).__name__}: {str(problem).strip()}"
            yield self._tasks.pop(task), end

    def slots(self) -> int:
        """See :class:`zoo.cluster.backend.Backend`."""
        wanted = {"CPU": self._resources.cpu, "GPU": self._resources.gpu}
        return sum(
            min(int(node["Resources"].get(name, 0) / amount) for name, amount in wanted.items() if amount)
            for node in self._nodes()
        )

    def cancel(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        for task in self._tasks:
            self._ray.cancel(task)
        self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=GRACE)

    def close(self) -> None:
        """See :class:`zoo.cluster.backend.Backend`."""
        self._ray.shutdown()

    def _nodes(self) -> list[dict[str, Any]]:
        nodes = self._ray.nodes()  # type: ignore[no-untyped-call]  # Ray does not annotate it
        return [node for node in nodes if node["Alive"]]
