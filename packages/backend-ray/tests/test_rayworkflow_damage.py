"""Records of durable workflows that are damaged: made again, or named where nothing can replace them."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import ray
from rayworkflow_tasks import Polled, add, counted, fail_unless_ready, held, note, noted, wait_until_noted

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow._controller import lease
from functionfuse.backends.addons.rayworkflow._records.journal import EventInbox, Journal
from functionfuse.backends.addons.rayworkflow.exceptions import WorkflowTaskNotRecoverableError
from functionfuse.errors import CorruptRecord, UnsupportedRecord
from functionfuse.storage import FileStore

pytestmark = [
    pytest.mark.usefixtures("durable"),
    pytest.mark.slow(reason="records that are damaged, and runs that start again"),
]


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "changed": lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
}
damaged = pytest.mark.parametrize("damage", [DAMAGE["cut short"], DAMAGE["changed"]], ids=["cut short", "changed"])


def spoil(root, workflow_id, record, damage, folder="durable"):
    """Damage all records of a workflow with this in their names; return how many."""
    found = list(root.glob(f"{folder}=2F{workflow_id}/*{record.replace('/', '=2F')}*.ffr"))
    for file in found:
        file.write_bytes(damage(file.read_bytes()))
    return len(found)


@ray.remote
def fails_before(path, *values):
    """Fails until it is noted that it need not."""
    fail_unless_ready(path)
    return sum(values)


def interrupted(dag, path, workflow_id):
    """Let a workflow fail behind its other tasks, and be ready to go on."""
    with pytest.raises(workflow.WorkflowExecutionError, match="not yet"):
        workflow.run(dag, workflow_id=workflow_id)
    note(f"{path}.ready")


@damaged
def test_a_damaged_result_is_made_again(path, root, damage):
    name = f"out-{Path(path).parent.name}"
    interrupted(fails_before.bind(path, counted.bind(path, 1)), path, name)
    assert spoil(root, name, "/out/rayworkflow_tasks.counted", damage) == 1
    assert workflow.resume(name) == 1
    assert len(noted(path)) == 2


@damaged
def test_a_damaged_output_of_a_successful_workflow_is_made_again(path, root, damage):
    name = f"output-{Path(path).parent.name}"
    assert workflow.run(counted.bind(path, 1), workflow_id=name) == 1
    assert spoil(root, name, "/out/", damage) == 1
    with pytest.raises(ValueError, match="Cannot load output"):
        workflow.get_output(name)
    assert (workflow.resume(name), workflow.get_output(name)) == (1, 1)
    assert len(noted(path)) == 2


@ray.remote
def refers(path, value):
    """Returns a reference, to a value that is another one whenever it is called."""
    note(path)
    return [ray.put([value, ray.put(len(noted(path)))])]


@ray.remote
def dereferenced(path, boxed):
    fail_unless_ready(path)
    value, inner = ray.get(boxed[0])
    return value, ray.get(inner)


@damaged
def test_a_damaged_object_is_made_again_with_the_task_that_returned_it(path, root, damage):
    name = f"obj-{Path(path).parent.name}"
    interrupted(dereferenced.bind(path, refers.bind(path, 7)), path, name)
    assert spoil(root, name, "/obj/", damage) == 2
    assert workflow.resume(name) == (7, 2)
    assert workflow.get_output(name) == (7, 2)


@damaged
def test_a_damaged_end_counts_as_none(path, root, damage):
    name = f"end-{Path(path).parent.name}"
    assert workflow.run(counted.bind(path, 1), workflow_id=name) == 1
    assert spoil(root, name, "/end/", damage) == 1
    assert workflow.get_status(name) == workflow.RESUMABLE
    assert workflow.resume(name) == 1
    assert workflow.get_status(name) == workflow.SUCCESSFUL
    assert len(noted(path)) == 1


@damaged
def test_a_damaged_lease_stops_nobody(path, root, damage):
    name = f"lease-{Path(path).parent.name}"
    output = workflow.run_async(add.bind(counted.bind(path, 1), held.bind(f"{path}.gate")), workflow_id=name)
    wait_until_noted(path, f"{path}.gate.started")
    assert spoil(root, name, "/lease/", damage) == 1
    assert workflow.get_status(name) == workflow.RUNNING
    note(f"{path}.gate")
    assert ray.get(output) == 2
    assert workflow.get_status(name) == workflow.SUCCESSFUL
    assert len(noted(path)) == 1


@ray.remote
def after_the_event(path, event, slept):
    fail_unless_ready(path)
    return event


@damaged
def test_a_damaged_wait_takes_place_again(path, root, damage):
    name = f"wait-{Path(path).parent.name}"
    dag = after_the_event.bind(path, workflow.wait_for_event(Polled, path), workflow.sleep(0.01))
    interrupted(dag, path, name)
    assert (spoil(root, name, "/wait/", damage), spoil(root, name, "/out/", damage)) == (2, 2)
    assert workflow.resume(name) == 2
    assert noted(f"{path}.polled") == ["x", "x"]


def test_an_event_that_is_stored_is_not_polled_for_again(path, root):
    """As when the wait actor dies between the two records."""
    dag = after_the_event.bind(path, workflow.wait_for_event(Polled, path), workflow.sleep(0.01))
    interrupted(dag, path, "received")
    assert spoil(root, "received", "/out/", DAMAGE["empty"]) == 2
    assert workflow.resume("received") == 1
    assert noted(f"{path}.polled") == ["x"]


@damaged
def test_a_damaged_exception_that_was_caught_is_caught_again(path, root, damage):
    name = f"caught-{Path(path).parent.name}"

    @ray.remote
    def continues_creator(path):
        note(path)
        return workflow.continuation(add.bind(broken.bind()))

    @ray.remote
    def broken():
        raise ValueError("no")

    @ray.remote
    def kind(path, pair):
        fail_unless_ready(path)
        return type(pair[1]).__name__

    careful = continues_creator.options(**workflow.options(catch_exceptions=True)).bind(path)
    interrupted(kind.bind(path, careful), path, name)
    assert spoil(root, name, "/caught/", damage) == 1
    assert workflow.resume(name) == "ValueError"
    assert len(noted(path)) == 1


@damaged
def test_a_damaged_function_is_named_with_what_to_do(path, root, damage):
    name = f"fn-{Path(path).parent.name}"
    interrupted(fails_before.bind(path, counted.bind(path, 1)), path, name)
    kept = {file: file.read_bytes() for file in root.glob(f"durable=2F{name}/*=2Ffn=2F*.ffr")}
    assert spoil(root, name, "/fn/", damage) == len(kept) == 2
    with pytest.raises(
        workflow.WorkflowExecutionError, match=f"a function of workflow '{name}' cannot be read"
    ) as raised:
        workflow.resume(name)
    assert type(raised.value.__cause__) is WorkflowTaskNotRecoverableError
    assert f"{root}/durable=2F{name}/" in str(raised.value)
    assert "put it back from a copy, or delete the workflow and run it anew" in str(raised.value)
    assert workflow.run(add.bind(1, 1)) == 2  # the controller lives
    for file, data in kept.items():
        file.write_bytes(data)
    assert workflow.resume(name) == 1
    assert len(noted(path)) == 1


@damaged
def test_a_damaged_graph_is_named_with_what_to_do(path, root, damage):
    name = f"spec-{Path(path).parent.name}"
    dag = counted.bind(path, 1)
    assert workflow.run(dag, workflow_id=name) == 1
    assert spoil(root, name, "spec", damage) == 1
    said = f"the graph of workflow '{name}' cannot be read: '{root}/durable=2F{name}/spec.ffr': .*; put it back"
    for ask in (
        workflow.get_status,
        workflow.resume,
        workflow.get_output,
        lambda name: workflow.run(dag, workflow_id=name),
    ):
        with pytest.raises(CorruptRecord, match=said):
            ask(name)
    assert (name, workflow.FAILED) in workflow.list_all()
    command = [sys.executable, "-m", "functionfuse.backends.addons.rayworkflow", "list", "--storage", str(root)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"FAILED      {name}" in listed.stdout.splitlines()
    workflow.delete(name)
    with pytest.raises(workflow.WorkflowNotFoundError):
        workflow.get_status(name)
    assert workflow.run(dag, workflow_id=name) == 1
    assert len(noted(path)) == 2


def test_a_workflow_of_a_newer_release_hides_no_other(root):
    Journal(FileStore(root, durable=False), "newer").put("spec", "spec", 1000, "run", b"", {})
    assert dict(workflow.list_all())["newer"] == workflow.FAILED
    with pytest.raises(UnsupportedRecord, match="'newer' has format 1000"):
        workflow.resume("newer")


@damaged
def test_a_damaged_event_can_be_sent_again(tmp_path, damage):
    store = FileStore(tmp_path, durable=False)
    inbox = EventInbox(store, "w")
    assert inbox.put("key", json.dumps(1))
    assert spoil(tmp_path, "w", "key", damage, "durable*events") == 1
    assert inbox.get("key") is None
    assert inbox.put("key", json.dumps(1))
    assert inbox.get("key") == "1"


@damaged
def test_an_owner_whose_heartbeat_is_damaged_keeps_its_leases(tmp_path, damage):
    """It writes the next one."""
    store = FileStore(tmp_path, durable=False)
    with closing(lease.LeaseOwner(store, "a", 1.0)) as owner:
        (file,) = tmp_path.glob("durable*owners/*.ffr")
        file.write_bytes(damage(file.read_bytes()))
        assert lease.LeaseOwner(store, "b", 1.0, shown=False).is_alive(owner.name)
