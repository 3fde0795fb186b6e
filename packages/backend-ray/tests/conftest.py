"""Clusters: one machine, and several. Ray connects a process to one cluster, so each module has its own."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial

import pytest
from ray_addresses import ADDRESS, PATH, started_head, until_started

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else a token is written to the home folder


@pytest.fixture(scope="module")
def local_ray():
    """A cluster of this machine."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATH)
        options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
        until_started(partial(ray.init, address="local", **options))
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def two_machines():
    """A cluster of two machines; ``_disk`` is a resource of the second one."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "node_ip_address": ADDRESS, "object_store_memory": 200 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATH)
        head = {"include_dashboard": False, **options}
        cluster = until_started(partial(Cluster, initialize_head=True, head_node_args=head))
        try:
            until_started(partial(cluster.add_node, resources={"_disk": 1}, **options))
            ray.init(address=cluster.address, log_to_driver=False, _node_ip_address=ADDRESS)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def ray_head(tmp_path_factory):
    """A cluster in processes of its own, started as one does by hand; gives the address for clients."""
    pytest.importorskip("grpc", reason="clients of Ray need grpcio")
    with started_head(tmp_path_factory.mktemp("head")) as address:
        yield address


@pytest.fixture(scope="module")
def ray_client(ray_head):
    """This process as a client of that cluster."""
    import ray

    try:
        _connect(ray_head)
        yield
    finally:
        with suppress(Exception):
            ray.shutdown()


def _connect(address):
    import ray

    for attempt in range(5):  # two clusters may choose one port for the server of a client
        try:
            ray.init(address, log_to_driver=False)
            return
        except (ConnectionError, RuntimeError):
            if attempt == 4:
                raise
            time.sleep(1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where the durable workflows of a module are."""
    return tmp_path_factory.mktemp("durable")


@pytest.fixture(scope="module")
def durable(local_ray, root):
    """Durable workflows with short leases."""
    from functionfuse.backends.addons import rayworkflow
    from functionfuse.storage import FileStore

    rayworkflow.init(storage=FileStore(root, durable=False), lease_seconds=2.0)


@pytest.fixture
def path(tmp_path):
    """Where the bodies of one test note that they run."""
    return str(tmp_path / "notes")
