"""Durable workflows of a driver that reaches its cluster through ``ray://``, stored on the disk behind a resource."""

from __future__ import annotations

import asyncio

import pytest
import ray
from rayworkflow_tasks import add, failing, gather

from functionfuse import workflow as node
from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflowback import RayWorkflow
from functionfuse.storage import storage_factory

pytestmark = pytest.mark.slow(reason="a client, and a cluster of its own")


@pytest.fixture(scope="module", autouse=True)
def durable(ray_client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("durable")
    options = {"path": str(folder), "remoteArgs": {"resources": {"_disk": 0.001}}, "durable": False}
    workflow.init(storage=storage_factory({"kind": "ray", "options": options}))
    return folder


def test_a_client_runs_workflows_and_finds_them(durable):
    @ray.remote
    def grow(n):
        return workflow.continuation(add.bind(n, grow.bind(n - 1))) if n else 0

    assert workflow.run(gather.bind(grow.bind(4), workflow.sleep(0.1)), workflow_id="run") == (10, None)
    assert (workflow.get_status("run"), workflow.get_output("run")) == (workflow.SUCCESSFUL, (10, None))
    assert workflow.list_all() == [("run", workflow.SUCCESSFUL)]
    assert (durable / "durable=2Frun").is_dir()


def test_a_client_awaits_outputs():
    async def gathered():
        return await asyncio.gather(workflow.run_async(add.bind(1)), workflow.get_output_async("run"))

    assert asyncio.run(gathered()) == [1, (10, None)]


def test_references_and_errors_travel_to_and_from_a_client():
    assert workflow.run(add.bind(ray.put(1), 2)) == 3
    with pytest.raises(workflow.WorkflowExecutionError) as caught:
        workflow.run(failing.bind("oops"), workflow_id="failed")
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    with pytest.raises(ValueError, match="failed during execution"):
        workflow.get_output("failed")
    assert repr(caught.value.__cause__) == "ValueError('oops')"


def test_a_client_runs_a_graph():
    @node
    def square(x):
        return x * x

    durable = RayWorkflow(square(square(3).set_name("inner")).set_name("outer"), workflow_name="graph")
    assert (durable.run(), durable.output(), durable.status()) == (81, 81, "SUCCESSFUL")
