"""Ray clusters of several machines, all of them processes of this one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial

ADDRESS = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's address in the network


@contextmanager
def ray_cluster_of(*machines):
    """Start a machine for each dict of options, and connect this process to the first."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else a token is written to the home folder
    import ray
    from ray.cluster_utils import Cluster

    head, *others = ({"node_ip_address": ADDRESS, "object_store_memory": 200 << 20, **options} for options in machines)
    cluster = _until_started(lambda: Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head}))
    try:
        for options in others:
            _until_started(partial(cluster.add_node, **options))
        ray.init(address=cluster.address, log_to_driver=False, _node_ip_address=ADDRESS)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def _until_started(start):
    """Start a cluster, or a machine of one; on a busy machine, its processes may not find each other in time."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()
