"""Durable workflows in a cluster of several machines."""

from __future__ import annotations

import numpy as np
import pytest
import ray
from ray.experimental import get_object_locations

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.storage import FileStore
from functionfuse.testing.waiting import wait_until

pytestmark = pytest.mark.slow(reason="two machines")


@pytest.fixture(scope="module", autouse=True)
def durable(two_machines, root):
    workflow.init(storage=FileStore(root, durable=False))


@ray.remote(resources={"_disk": 0.1})
def large():
    return np.zeros(1 << 18), ray.get_runtime_context().get_node_id()


@pytest.mark.parametrize("asked", ["when it runs", "later"])
def test_an_output_comes_to_the_machine_where_it_is_waited_for(asked):
    output = workflow.run_async(large.bind(), workflow_id="large" if asked == "later" else None)
    if asked == "later":
        ray.get(output)
        output = workflow.get_output_async("large")
    assert ray.wait([output], timeout=60, fetch_local=False)[0]
    here = ray.get_runtime_context().get_node_id()
    # A machine reports what it holds to the owner in its own time, also after the task has ended.
    assert wait_until(lambda: here in get_object_locations([output])[output]["node_ids"])
    array, there = ray.get(output)
    assert there != here
    assert not array.flags.owndata
