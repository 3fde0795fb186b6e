"""Durable workflows outlive their drivers, workers, controller and cluster, and no committed task runs again."""

from __future__ import annotations

import json
import os
import signal
import urllib.request

import pytest
import ray
from rayworkflow_drivers import driver
from rayworkflow_tasks import (
    add,
    counted,
    fail_unless_ready,
    gather,
    held,
    note,
    noted,
    pid_of,
    pids_of,
    record,
    records,
    wait_until_noted,
)

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow._worker.task_actor import TaskActor
from functionfuse.backends.addons.rayworkflow.http_event_provider import HTTPListener
from functionfuse.testing import wait_until

pytestmark = [pytest.mark.usefixtures("durable"), pytest.mark.slow(reason="processes that are killed and come back")]

COUNTED = "rayworkflow_tasks.counted"
EVENT, SLEEP = (f"functionfuse.backends.addons.rayworkflow.{name}" for name in ("wait_for_event", "sleep"))


def test_a_killed_controller_comes_back_and_goes_on(path, root):
    dag = gather.bind(add.bind(counted.bind(path, 1), held.bind(f"{path}.gate")), workflow.sleep(1))
    output = workflow.run_async(dag, workflow_id="controller")
    wait_until_noted(path, f"{path}.gate.started")
    wait_until(lambda: COUNTED in records(root, "controller", "out"))
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    note(f"{path}.gate")
    assert ray.get(output, timeout=60) == (2, None)
    assert len(noted(path)) == 1
    assert workflow.get_status("controller") == workflow.SUCCESSFUL


def test_a_workflow_outlives_its_driver(path, tmp_path):
    with driver(tmp_path / "log", address=ray.get_runtime_context().gcs_address) as other:
        dag = f"add.bind(counted.bind('{path}', 1), held.bind('{path}.gate'))"
        other.send(f"workflow.run({dag}, workflow_id='driver')")
        wait_until_noted(f"{path}.gate.started")
    note(f"{path}.gate")
    assert workflow.get_output("driver") == 2
    assert len(noted(path)) == 1


def test_workflows_outlive_their_cluster(path, root, tmp_path):
    """Results, deadlines and events that were received before, over HTTP too, are as they were."""
    with driver(tmp_path / "log", storage=root, lease_seconds=2.0) as other:
        event = f"workflow.wait_for_event(http_event_provider.HTTPListener, held.bind('{path}.gate', 'go'))"
        waits = f"workflow.sleep(3), workflow.wait_for_event(Polled, '{path}'), {event}"
        dag = f"gather.bind(counted.bind('{path}', 1), {waits})"
        other.ask(f"workflow.run_async({dag}, workflow_id='cluster') and None")
        address = other.ask("http_event_provider.start(port=0)")
        for workflow_id in ("cluster", "later"):
            post(f"{address}/send_event/{workflow_id}", {"event_key": "go", "event_payload": workflow_id})
        wait_until(lambda: noted(f"{path}.gate.started") and {COUNTED, EVENT} <= set(records(root, "cluster", "out")))
        (deadline,) = root.glob("durable=2Fcluster/*wait=2F*sleep.ffr")
        before = deadline.read_bytes()
        assert workflow.get_status("cluster") == workflow.RUNNING
        with pytest.raises(workflow.WorkflowStillActiveError):  # its controller lives
            workflow.resume("cluster")
    note(f"{path}.gate")
    assert workflow.get_status("cluster") == workflow.RESUMABLE
    assert workflow.list_all("RESUMABLE") == [("cluster", workflow.RESUMABLE)]
    ((workflow_id, output),) = workflow.resume_all()
    assert (workflow_id, ray.get(output)) == ("cluster", (1, None, 1, ("go", "cluster")))
    assert (len(noted(path)), len(noted(f"{path}.polled"))) == (1, 1)
    assert deadline.read_bytes() == before
    until = record(root, "cluster", "wait", SLEEP)[1]
    assert workflow.get_metadata("cluster")["stats"]["end_time"] >= until
    assert workflow.run(workflow.wait_for_event(HTTPListener, "go"), workflow_id="later") == ("go", "later")


def post(address, event):
    with urllib.request.urlopen(address, data=json.dumps(event).encode(), timeout=60) as answer:
        assert answer.status == 200


@ray.remote
def refers(references):
    return {"the same": references[0], "another": ray.put("another")}


@ray.remote
def unwrapped(direct, boxed):
    first, (second, inner) = ray.get(boxed)
    return [direct, first, second, ray.get(inner)]


@ray.remote
def all_of(path, returned, gathered, direct):
    fail_unless_ready(path)
    (word, inner), *others = gathered
    return ray.get(list(returned.values())), [word, ray.get(inner)], others, direct


def test_what_references_are_to_is_stored_once(path, root):
    """In arguments, nested, returned, shared by many tasks, and when the workflow is resumed."""
    shared = ray.put("shared")
    nested = ray.put(["nested", shared])
    tasks = [unwrapped.bind(shared, [shared, nested]) for _ in range(3)]
    last = all_of.bind(path, refers.bind([shared]), gather.bind(nested, *tasks), shared)
    with pytest.raises(workflow.WorkflowExecutionError, match="not yet"):
        workflow.run(last, workflow_id="references")
    note(f"{path}.ready")
    others = [["shared", "shared", "nested", "shared"]] * 3
    expected = ["shared", "another"], ["nested", "shared"], others, "shared"
    assert workflow.resume("references") == expected
    assert len(list(root.glob("durable=2Freferences/*=2Fobj=2F*"))) == 3  # shared, nested, another


def test_isolated_tasks_go_on_while_their_controller_is_away(path):
    """They take all processors; the controller comes back nevertheless."""
    gates = [f"{path}.gate-{number}" for number in range(2)]
    isolated = held.options(**workflow.options(isolate=True))
    output = workflow.run_async(add.bind(*[isolated.bind(gate) for gate in gates]), workflow_id="isolated")
    wait_until_noted(*[f"{gate}.started" for gate in gates])
    runners = pids_of(b"ray::TaskActor")
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    assert workflow.get_status("isolated") == workflow.RUNNING
    for gate in gates:
        note(gate)
    assert ray.get(output, timeout=60) == 2
    assert [len(noted(f"{gate}.started")) for gate in gates] == [1, 1]
    wait_until(lambda: not set(runners) & set(pids_of(b"ray::")))


def test_isolated_tasks_leave_room_for_what_they_take(path):
    """There are two CPUs, and an actor has its own from the moment at which it is made."""
    first = held.bind(f"{path}.gate")
    isolated = counted.options(**workflow.options(isolate=True))
    tasks = [isolated.bind(path, add.bind(first, 1)) for _ in range(3)]
    output = workflow.run_async(add.bind(*tasks), workflow_id="room")
    wait_until_noted(f"{path}.gate.started")
    assert not pids_of(b"ray::TaskActor")
    note(f"{path}.gate")
    assert ray.get(output, timeout=60) == 6


def test_an_actor_that_nobody_calls_ends():
    """Ray starts the actor of an isolated task anew when it was killed, also if the task had ended."""
    options = {"name": "nobody's", "lifetime": "detached", "max_restarts": -1}
    ray.remote(num_cpus=0)(TaskActor).options(**options).remote(2.0)
    wait_until(lambda: pids_of(b"ray::TaskActor"))
    os.kill(pid_of(b"ray::TaskActor"), signal.SIGKILL)
    wait_until(lambda: "nobody's" not in ray.util.list_named_actors())
    wait_until(lambda: not pids_of(b"ray::TaskActor"))


def test_an_isolated_task_is_cancelled_and_goes_on_when_it_is_resumed(path):
    isolated = held.options(**workflow.options(isolate=True))
    workflow.run_async(isolated.bind(f"{path}.gate"), workflow_id="isolated and cancelled")
    wait_until_noted(f"{path}.gate.started")
    workflow.cancel("isolated and cancelled")
    wait_until(lambda: not pids_of(b"ray::TaskActor"))
    note(f"{path}.gate")
    assert workflow.resume("isolated and cancelled") == 1


def test_an_isolated_task_whose_process_dies_is_tried_again(path):
    isolated = held.options(**workflow.options(isolate=True))
    output = workflow.run_async(isolated.bind(f"{path}.gate"), workflow_id="isolated and killed")
    wait_until_noted(f"{path}.gate.started")
    os.kill(pid_of(b"ray::TaskActor"), signal.SIGKILL)
    wait_until(lambda: len(noted(f"{path}.gate.started")) == 2)
    note(f"{path}.gate")
    assert ray.get(output, timeout=60) == 1
