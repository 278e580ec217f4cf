"""A Ray cluster of several nodes on this machine, in a process of its own: ``python ray_nodes.py CPUS CPUS ...``.

The head has no CPUs. Prints its address, then obeys lines: ``kill PID`` takes the node away on which that process
works, with SIGKILL, as a power cut would. Ends, with all that it started, when its input ends.
"""

from __future__ import annotations

import os
import signal
import sys

from ray._private.node import Node
from ray.cluster_utils import Cluster
from watched import descendants

OWN = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20, "include_dashboard": False}


def main() -> None:
    """See the module."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **OWN})
    nodes = [cluster.add_node(num_cpus=int(count), **OWN) for count in sys.argv[1:]]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        processes = {node: [raylet(node), *descendants(raylet(node))] for node in nodes}
        node = next(node for node, pids in processes.items() if int(line.split()[1]) in pids)
        for pid in processes[node]:  # Ray itself would let its workers come to an end
            os.kill(pid, signal.SIGKILL)
        nodes.remove(node)
        cluster.remove_node(node, allow_graceful=False)
        print("gone", flush=True)
    cluster.shutdown()


def raylet(node: Node) -> int:
    """The process that starts the workers of `node`."""
    (found,) = node.all_processes["raylet"]
    return found.process.pid


if __name__ == "__main__":
    main()
