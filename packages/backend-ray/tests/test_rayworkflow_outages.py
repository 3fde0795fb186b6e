"""A storage that fails and comes back, or stays away, or is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import ray
from rayworkflow_outage import Unreliable
from rayworkflow_tasks import add, counted, gather, held, note, noted, pid_of, wait_until_noted

from functionfuse import workflow as node_of
from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.errors import StorageError
from functionfuse.testing import wait_until

pytestmark = pytest.mark.slow(reason="waits for a storage that is unavailable")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder on a file system with room for 16 MB, if one can be mounted here."""
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place]
    is_small = sys.platform == "linux" and not subprocess.run(mount, capture_output=True, check=False).returncode
    yield place
    if is_small:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def store(disk):
    return Unreliable(disk / "store", durable=False)


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, store):
    workflow.init(storage=store, lease_seconds=2.0, max_running_workflows=5, max_pending_workflows=1)


def test_a_storage_that_fails_now_and_then_is_asked_again(path, store):
    fan = [counted.options(**workflow.options(task_id=f"fan-{n}")).bind(f"{path}-{n}", n) for n in range(8)]
    with store.failing("x.xx.."):
        assert workflow.run(add.bind(*fan, add.bind(fan[0], fan[1])), workflow_id="now and then") == 29
    assert [len(noted(f"{path}-{n}")) for n in range(8)] == [1] * 8


def test_a_storage_that_comes_back(path, store):
    """Tasks that end meanwhile, those that begin, a sleep, a continuation and an exception to be caught wait for it."""

    @ray.remote
    def grows(path, value):
        return workflow.continuation(add.bind(counted.bind(path, value), 1))

    @ray.remote
    def breaks(_):
        return workflow.continuation(add.bind(broken.bind()))

    @ray.remote
    def broken():
        raise ValueError("no")

    first = held.bind(f"{path}.gate")
    careful = breaks.options(**workflow.options(catch_exceptions=True)).bind(first)
    dag = gather.bind(first, grows.bind(path, first), workflow.sleep(0.1), careful)
    output = workflow.run_async(dag, workflow_id="comes back")
    wait_until_noted(f"{path}.gate.started")
    with store.failing():
        note(f"{path}.gate")
        ray.wait([output], timeout=2)
    one, two, _, (_, error) = ray.get(output, timeout=120)
    assert (one, two, repr(error)) == (1, 2, "ValueError('no')")
    assert len(noted(path)) == 1


class GatedListener(workflow.EventListener):
    """Notes when it is asked; its event is a file."""

    async def poll_for_event(self, path):
        note(f"{path}.polled")
        wait_until_noted(path)
        return "event"


@ray.remote
def caught(pair):
    return pair


@node_of
def ended(path):
    note(f"{path}.started")
    wait_until_noted(path)
    return 1


@node_of
def after(path, value):
    note(f"{path}.after")
    return value + 1


def test_a_storage_that_stays_away_is_told_within_a_bounded_time(path, store):
    """A task that ends then, one that would begin, one that catches exceptions, an event, and a graph of nodes."""
    gates = {name: f"{path}-{name}" for name in ("ends", "catches", "event", "nodes", "begins")}
    dags = {
        "ends": add.bind(counted.bind(path, 1), held.bind(gates["ends"])),
        "catches": caught.bind(held.options(**workflow.options(catch_exceptions=True)).bind(gates["catches"])),
        "event": workflow.wait_for_event(GatedListener, gates["event"]),
        "nodes": after(gates["nodes"], ended(gates["nodes"])),
        "begins": add.bind(add.bind(held.bind(gates["begins"]), 1), 1),
    }
    outputs = {name: workflow.run_async(dag, workflow_id=f"away {name}") for name, dag in dags.items()}
    wait_until_noted(*[f"{gates[name]}.started" for name in ("ends", "catches", "begins", "nodes")])
    wait_until_noted(f"{gates['event']}.polled", path)
    with store.failing():
        for gate in gates.values():
            note(gate)
        for name, output in outputs.items():
            with pytest.raises(workflow.WorkflowExecutionError, match=f"id=away {name}.* cannot be reached") as raised:
                ray.get(output, timeout=120)
            assert store.path in str(raised.value)
    assert workflow.run(add.bind(1, 1)) == 2
    results = {name: workflow.resume(f"away {name}") for name in dags}
    assert results == {"ends": 2, "catches": (1, None), "event": "event", "nodes": 2, "begins": 3}
    assert len(noted(path)) == 1


def test_a_controller_that_dies_meanwhile_comes_back_with_its_storage(path, store):
    output = workflow.run_async(add.bind(counted.bind(path, 1), held.bind(f"{path}.gate")), workflow_id="taken up")
    wait_until_noted(path, f"{path}.gate.started")
    with store.failing():
        os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
        with pytest.raises(StorageError, match=r"wait for their store: .* cannot be reached"):
            workflow.get_status("taken up")
        with pytest.raises(StorageError, match="cannot be reached"):
            ray.get(output, timeout=120)
    note(f"{path}.gate")
    wait_until(lambda: status_or_none("taken up") == workflow.SUCCESSFUL)
    assert workflow.get_output("taken up") == 2
    assert len(noted(path)) == 1


def status_or_none(workflow_id):
    try:
        return workflow.get_status(workflow_id)
    except StorageError:
        return None


def test_a_workflow_that_cannot_be_stored_as_cancelled(path, store):
    workflow.run_async(held.bind(f"{path}.gate"), workflow_id="cancelled")
    wait_until_noted(f"{path}.gate.started")
    with store.failing(), pytest.raises(workflow.WorkflowExecutionError, match=r"id=cancelled.* cannot be reached"):
        workflow.cancel("cancelled")
    assert workflow.get_status("cancelled") == workflow.RESUMABLE
    workflow.cancel("cancelled")
    assert workflow.get_status("cancelled") == workflow.CANCELED


def test_a_workflow_that_waits_and_cannot_be_stored_as_cancelled(path, store):
    running = [f"running {n}" for n in range(5)]
    for workflow_id in running:
        workflow.run_async(held.bind(f"{path}.gate"), workflow_id=workflow_id)
    workflow.run_async(counted.bind(path, 1), workflow_id="waits")
    assert workflow.get_status("waits") == workflow.PENDING
    with store.failing(), pytest.raises(workflow.WorkflowExecutionError, match=r"id=waits.* cannot be reached"):
        workflow.cancel("waits")
    assert workflow.get_status("waits") == workflow.RESUMABLE
    for workflow_id in running:
        workflow.cancel(workflow_id)
    assert workflow.resume("waits") == 1


@ray.remote
def large(path):
    """A megabyte, when a file is there."""
    note(f"{path}.started")
    wait_until_noted(path)
    return bytes(1 << 20)


@ray.remote
def length(value):
    return len(value)


def test_a_disk_that_is_full(path, disk, store):
    if not os.path.ismount(disk):
        pytest.skip("no file system can be mounted here")
    dag = length.bind(large.bind(f"{path}.gate")), counted.bind(path, 1)
    output = workflow.run_async(add.bind(*dag), workflow_id="full")
    wait_until(lambda: noted(f"{path}.gate.started") and store.list_tasks("durable/full", "*/out/*"))
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))
    note(f"{path}.gate")
    said = r"id=full\] failed .* Task 'test_rayworkflow_outages.large': StorageError: cannot write .* No space left"
    with pytest.raises(workflow.WorkflowExecutionError, match=said):
        ray.get(output, timeout=120)
    (disk / "filler").unlink()
    assert workflow.get_status("full") == workflow.RESUMABLE
    assert workflow.resume("full") == (1 << 20) + 1
    assert store.check_workflow("durable/full") == []
    assert (len(noted(path)), len(noted(f"{path}.gate.started"))) == (1, 2)
