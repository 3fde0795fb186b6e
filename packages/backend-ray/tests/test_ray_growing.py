"""A cluster to which machines may be added: a node waits for one, and the user is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ray_addresses import ADDRESS

PROGRAM = """
import sys
import time
import warnings

import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow

options = {"num_cpus": 1, "node_ip_address": sys.argv[1], "object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **options})
# What an autoscaler reports to the cluster.
config = autoscaler_pb2.ClusterConfig(node_group_configs=[{"name": "with tape", "resources": {"_tape": 1}}])
GcsClient(address=cluster.address).report_cluster_config(config.SerializeToString())


@workflow
def plus_one(n):
    return n + 1


with RayWorkflow(plus_one(1).set_name("a"), workflow_name="w", ray_init_args={"address": cluster.address}) as made:
    made.query("a").set_remote_args({"resources": {"_tape": 1}})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        running = made.run_in_background()
        while not warned:
            time.sleep(0.05)
        print(warned[0].message)
        cluster.add_node(resources={"_tape": 1}, **options)
        print(ray.get(running.result(100)))
cluster.shutdown()
"""


@pytest.mark.slow(reason="a cluster that grows")
def test_a_node_waits_for_a_machine(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, ADDRESS],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()  # what the cluster says comes between
    assert "2" in said
    assert any(
        "'a' waits for the cluster to grow: no machine of the cluster offers {'_tape': 1}" in line for line in said
    )
