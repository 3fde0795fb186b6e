"""Durable runs of graphs of Function Fuse: what the conformance suite does not ask."""

from __future__ import annotations

import os
import signal

import pytest
import ray
from rayworkflow_tasks import fail_unless_ready, note, noted, pid_of, wait_until_noted

from functionfuse import workflow
from functionfuse.backends.addons import rayworkflow
from functionfuse.backends.addons.rayworkflowback import RayWorkflow
from functionfuse.errors import EngineError, NodeError, RunCancelled
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until

pytestmark = pytest.mark.slow(reason="processes that are killed and come back")


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, tmp_path_factory):
    rayworkflow.init(storage=FileStore(tmp_path_factory.mktemp("durable"), durable=False))


@workflow
def counted(path, value, *_):
    note(path)
    return value


@workflow
def once(path, value):
    """Ends the process that runs the graph, the first time."""
    if not noted(f"{path}.once"):
        note(f"{path}.once")
        wait_until_noted(f"{path}.runner")
        os.kill(int(noted(f"{path}.runner")[-1]), signal.SIGKILL)
        wait_until(lambda: False)
    return value


@workflow
def held(path, value):
    note(f"{path}.started")
    wait_until(lambda: os.path.exists(f"{path}.gate"))  # noqa: PTH110
    return value


@workflow
class Counter:
    def __init__(self, path):
        note(path, "made")
        self.path = path
        self.count = 0

    def add(self, number):
        note(self.path, "added")
        self.count += number
        return self.count


@pytest.mark.parametrize("kept", ["beside the workflow", "in a store", "in a store, with reuse='never'"])
def test_what_was_stored_does_not_run_again_when_the_runner_dies(path, tmp_path, kept):
    first = counted(path, 2)
    flow = RayWorkflow(once(path, first).set_name("last"), workflow_name=f"runner dies, results {kept}")
    if kept != "beside the workflow":
        flow.set_storage(f"file:{tmp_path / 'store'}")
    flow.start(reuse="never" if "never" in kept else "recipe")
    wait_until_noted(path)
    note(f"{path}.runner", _pid_of_the_runner())
    assert flow.output() == 2
    assert (len(noted(path)), len(noted(f"{path}.once"))) == (1, 1)


def _pid_of_the_runner():
    return pid_of(b"ray::functionfuse.backends.addons.rayworkflow.run_graph")


def test_an_object_goes_on_from_its_last_state(path, tmp_path):
    counter = Counter(path).set_name("counter")
    counter.add(1).set_name("one")
    flow = RayWorkflow(counter.add(once(path, 2)).set_name("sum"), workflow_name="object")
    store = FileStore(tmp_path / "store", durable=False)
    flow.set_storage(store)
    flow.start()
    wait_until(lambda: store.has_tasks("object", ["one"]))
    note(f"{path}.runner", _pid_of_the_runner())
    assert flow.output() == 3
    assert noted(path) == ["made", "added", "added"]


def test_status_and_cancel_and_another_run(path):
    flow = RayWorkflow(held(path, 1), workflow_name="cancelled")
    with pytest.raises(rayworkflow.WorkflowNotFoundError):
        flow.status()
    flow.start()
    wait_until_noted(f"{path}.started")
    assert flow.status() == rayworkflow.RUNNING
    with pytest.raises(EngineError, match=r"a run of workflow 'cancelled' is going on: wait for its output\(\)"):
        flow.run()
    flow.cancel()
    assert flow.status() == rayworkflow.CANCELED
    with pytest.raises(RunCancelled, match="resume\\(\\) goes on from there") as cancelled:
        flow.output()
    assert isinstance(cancelled.value.__cause__, rayworkflow.WorkflowCancellationError)
    note(f"{path}.gate")
    assert flow.run() == 1
    assert (flow.status(), flow.output()) == (rayworkflow.SUCCESSFUL, 1)


def test_a_failed_run_is_resumed_from_what_is_stored(path):
    @workflow
    def second(value):
        fail_unless_ready(path)
        return value

    flow = RayWorkflow(second(counted(path, 5)).set_name("second"), workflow_name="failed")
    with pytest.raises(NodeError, match="'second' failed: OSError: not yet") as raised:
        flow.run()
    assert repr(raised.value.__cause__) == "OSError('not yet')"
    note(f"{path}.ready")
    other = RayWorkflow(counted(path, 0), workflow_name="failed")  # resumes what was stored, whatever its own graph
    assert other.resume() == 5
    assert len(noted(path)) == 1


def test_an_argument_that_cannot_be_pickled_is_named():
    import threading

    flow = RayWorkflow(counted("", threading.Lock()).set_name("locked"), workflow_name="lock")
    with pytest.raises(NodeError, match=r"'locked' cannot be sent to another process: argument 1 \(lock\)"):
        flow.run()


# -- nodes of Function Fuse among tasks of Ray


@workflow
def double(x):
    return 2 * x


@ray.remote
def add(*numbers):
    return sum(numbers)


def test_nodes_are_run_as_workflows_and_taken_by_tasks(path):
    shared = counted(path, double(3).set_name("six")).set_name("shared")
    assert rayworkflow.run(shared, workflow_id="a node") == 6
    assert rayworkflow.get_output("a node", task_id="shared") == 6
    task = rayworkflow.as_dag(shared)
    assert rayworkflow.run(add.bind(task, add.bind(task, 1), rayworkflow.as_dag(double(double(1))))) == 17
    assert len(noted(path)) == 2


def test_a_task_returns_nodes():
    @ray.remote
    def grows(n):
        return double(double(n))

    assert rayworkflow.run(add.bind(grows.bind(2), rayworkflow.continuation(add.bind(1)))) == 9


def test_a_node_that_fails_is_named():
    @workflow
    def fails():
        raise ValueError("no")

    with pytest.raises(rayworkflow.WorkflowExecutionError, match="node 'bad' failed: ValueError: no"):
        rayworkflow.run(add.bind(rayworkflow.as_dag(fails().set_name("bad"))))
