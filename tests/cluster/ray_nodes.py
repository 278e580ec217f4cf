"""A Ray cluster of several nodes on this machine, in a process of its own: ``python ray_nodes.py CPUS CPUS ...``.

The head has no CPUs. Prints its address, then obeys lines: ``kill N`` takes node N away with SIGKILL, as a power cut
would. Ends, with all that it started, when its input ends.
"""

from __future__ import annotations

import os
import signal
import sys

from ray.cluster_utils import Cluster
from watched import descendants

OWN = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20, "include_dashboard": False}


def main() -> None:
    """See the module."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **OWN})
    nodes = [cluster.add_node(num_cpus=int(count), **OWN) for count in sys.argv[1:]]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        node = nodes[int(line.split()[1])]
        (raylet,) = node.all_processes["raylet"]
        processes = [raylet.process.pid, *descendants(raylet.process.pid)]
        for pid in processes:  # Ray itself would let its workers come to an end
            os.kill(pid, signal.SIGKILL)
        cluster.remove_node(node, allow_graceful=False)
        print("gone", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
