"""One controller runs a workflow, whoever else tries to, is paused, or has another idea of the time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import ray
from ray_addresses import PATH
from rayworkflow_drivers import driver
from rayworkflow_tasks import counted, note, noted, pid_of, record, records, wait_until_noted

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.testing import wait_until

CLOCK = str(Path(__file__).parent / "moved_clock")


pytestmark = [
    pytest.mark.usefixtures("durable"),
    pytest.mark.slow(reason="several drivers, with clusters of their own"),
]


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return tmp_path_factory.mktemp("clock") / "seconds"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, root, clock):
    """A driver with another cluster on the same store, whose clock can be moved."""
    env = {"FUNCTIONFUSE_TESTS_CLOCK": str(clock), "PYTHONPATH": os.pathsep.join([CLOCK, PATH])}
    log = tmp_path_factory.mktemp("elsewhere") / "log"
    with driver(log, storage=root, env=env, lease_seconds=2.0) as one:
        yield one


@pytest.mark.parametrize("where", ["one cluster", "two clusters"])
def test_two_drivers_run_the_same_ids_at_once(path, root, where, request, tmp_path):
    """One runs a workflow; the other gets its result, or hears that somebody runs it."""
    if where == "one cluster":
        address = ray.get_runtime_context().gcs_address
        with driver(tmp_path / "log", address=address) as other:
            check_two_drivers(path, root, where, other)
    else:
        check_two_drivers(path, root, where, request.getfixturevalue("elsewhere"))


def check_two_drivers(path, root, where, other):
    ids = [f"{where} {number}" for number in range(4)]
    for number, workflow_id in enumerate(ids):
        other.send(f"workflow.run(counted.bind('{path}-{number}', 'theirs'), workflow_id='{workflow_id}')")
    ours = [what_comes_of(counted.bind(f"{path}-{number}", "ours"), name) for number, name in enumerate(ids)]
    theirs = [other.answer() for _ in ids]
    for number, pair in enumerate(zip(ours, theirs, strict=True)):
        values = {said for said in pair if isinstance(said, str)}
        refusals = [said for said in pair if not isinstance(said, str)]
        assert len(values) == 1
        assert all(
            "is already running or pending" in said or "is still running or pending" in said for _, said in refusals
        )
        assert values == {workflow.get_output(ids[number])}
        assert len(noted(f"{path}-{number}")) == 1
        assert len(records(root, ids[number], "end")) == 1


def what_comes_of(dag, workflow_id):
    try:
        return workflow.run(dag, workflow_id=workflow_id)
    except Exception as error:
        return type(error).__name__, str(error)


def test_what_a_controller_that_was_paused_past_its_lease_still_runs_disturbs_nobody(path, root, elsewhere):
    """Its task ends while another controller runs the workflow, and is the first one to store a result."""
    dag = f"gather.bind(nth_attempt.bind('{path}'), counted.bind('{path}', 5))"
    elsewhere.send(f"workflow.run({dag}, workflow_id='paused past its lease')")
    wait_until(
        lambda: (
            noted(f"{path}.attempts") and "rayworkflow_tasks.counted" in records(root, "paused past its lease", "out")
        )
    )
    paused = pid_of(b"ray::Controller", elsewhere.process.pid)
    os.kill(paused, signal.SIGSTOP)
    try:
        wait_until(lambda: workflow.get_status("paused past its lease") == workflow.RESUMABLE)
        output = workflow.resume_async("paused past its lease")
        wait_until(lambda: len(noted(f"{path}.attempts")) == 2)
        note(f"{path}.1")
        wait_until(lambda: "rayworkflow_tasks.nth_attempt" in records(root, "paused past its lease", "out"))
        note(f"{path}.2")
        assert ray.get(output, timeout=60) == (1, 5)
    finally:
        os.kill(paused, signal.SIGCONT)
    assert elsewhere.answer()[0] == "WorkflowStillActiveError"
    assert records(root, "paused past its lease", "end") == ["00000002"]
    assert workflow.get_output("paused past its lease") == (1, 5)
    assert len(noted(path)) == 1
    assert elsewhere.ask("workflow.run(add.bind(1, 1))") == 2  # it is of use for others


def test_a_lease_does_not_depend_on_the_clock(path, root, elsewhere, clock):
    elsewhere.ask(f"workflow.run_async(held.bind('{path}'), workflow_id='another time') and None")
    wait_until_noted(f"{path}.started")
    for moved in (3600, -3600):
        clock.write_text(str(moved))
        assert workflow.get_status("another time") == workflow.RUNNING
        with pytest.raises(workflow.WorkflowStillActiveError):
            workflow.resume("another time")
    clock.unlink()
    note(path)
    assert elsewhere.ask("workflow.get_output('another time')") == 1
    assert len(noted(f"{path}.started")) == 1
    assert records(root, "another time", "end") == ["00000001"]


SLEEP = "functionfuse.backends.addons.rayworkflow.sleep"


def test_a_sleep_ends_by_the_clock_when_its_process_is_restarted(root, elsewhere, clock):
    """Its deadline is absolute: an hour back it has not come, an hour later it is over."""
    elsewhere.ask("workflow.run_async(workflow.sleep(1800), workflow_id='slept') and None")
    wait_until(lambda: records(root, "slept", "wait") == [SLEEP])
    until = record(root, "slept", "wait", SLEEP)
    for moved in (-3600, 3600):
        clock.write_text(str(moved))
        before = pid_of(b"ray::Controller", elsewhere.process.pid)
        leases = len(records(root, "slept", "lease"))
        os.kill(before, signal.SIGKILL)
        wait_until(lambda leases=leases: len(records(root, "slept", "lease")) == leases + 1)
        if moved < 0:
            assert elsewhere.ask("workflow.get_status('slept')") == "RUNNING"
    assert elsewhere.ask("workflow.get_output('slept')") is None
    assert record(root, "slept", "wait", SLEEP) == until
    clock.unlink()
