"""Outputs reach whoever waits for them, in whatever way: also where the event loop or all processors are taken."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal

import numpy as np
import pytest
import ray
from rayworkflow_tasks import add, counted, failing, gather, held, note, noted, pid_of, wait_until_noted

from functionfuse.backends.addons import rayworkflow as workflow

TIMEOUT = 60  # seconds; what hangs would do so for ever


@pytest.fixture(scope="module", autouse=True)
def _durable(durable):
    """The cluster, with two processors."""


def awaited(*outputs):
    """What comes of several references in an event loop of this process."""

    async def gathered():
        return await asyncio.wait_for(asyncio.gather(*outputs, return_exceptions=True), TIMEOUT)

    return asyncio.run(gathered())


# -- in an event loop


def test_outputs_are_awaited():
    assert awaited(workflow.run_async(add.bind(1, 2)), workflow.run_async(add.bind(add.bind(3), 4))) == [3, 7]


def test_outputs_of_finished_workflows_and_of_tasks_are_awaited():
    workflow.run(add.options(**workflow.options(task_id="task")).bind(1), workflow_id="finished")
    outputs = workflow.get_output_async("finished"), workflow.get_output_async("finished", task_id="task")
    assert awaited(*outputs, workflow.resume_async("finished")) == [1, 1, 1]


def test_futures_of_outputs_have_results():
    assert workflow.run_async(gather.bind(1, [2])).future().result(TIMEOUT) == (1, [2])


def test_a_failure_is_awaited():
    (error,) = awaited(workflow.run_async(failing.bind(), workflow_id="failure awaited"))
    assert isinstance(error, workflow.WorkflowExecutionError)
    assert isinstance(error, ray.exceptions.RayTaskError)


def test_an_async_actor_awaits_outputs():
    @ray.remote(num_cpus=0)
    class Waiting:
        async def sum(self, numbers):
            return sum(await asyncio.gather(*[workflow.run_async(add.bind(number)) for number in numbers]))

    waiting = Waiting.remote()
    assert ray.get(waiting.sum.remote([1, 2, 3]), timeout=TIMEOUT) == 6


def test_a_task_takes_an_output_as_its_argument():
    assert ray.get(add.remote(workflow.run_async(add.bind(1)), 1), timeout=TIMEOUT) == 2


# -- without a processor


@pytest.fixture
def busy(path):
    """Tasks of Ray that take all processors."""

    @ray.remote
    def blocks(gate, path):
        note(gate)
        wait_until_noted(path)

    gates = [f"{path}.busy-{number}" for number in range(2)]
    tasks = [blocks.remote(gate, f"{path}.idle") for gate in gates]
    wait_until_noted(*gates)
    yield
    note(f"{path}.idle")
    ray.get(tasks)


@pytest.fixture
def finished(request):
    """The id of a workflow that was successful."""
    workflow.run(gather.bind(1, "two"), workflow_id=request.node.name)
    return request.node.name


@pytest.mark.usefixtures("finished", "busy")
def test_an_output_needs_no_processor(finished):
    assert workflow.get_output(finished) == (1, "two")
    assert ray.get(workflow.get_output_async(finished), timeout=TIMEOUT) == (1, "two")
    assert workflow.resume(finished) == (1, "two")


def test_a_time_limit_holds_for_an_output(path):
    output = workflow.run_async(held.bind(path), workflow_id="limited")
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(output, timeout=0.2)
    note(path)
    assert ray.get(output, timeout=TIMEOUT) == 1


def test_an_output_outlives_the_controller():
    output = workflow.run_async(add.bind(1), workflow_id="outlives")
    assert ray.wait([output], timeout=TIMEOUT)[0]
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    assert ray.get(output, timeout=TIMEOUT) == 1
    assert workflow.get_output("outlives") == 1


# -- values


def test_a_large_output_is_not_copied_for_who_waits():
    @ray.remote
    def large():
        return np.zeros(1 << 20)

    assert not workflow.run(large.bind()).flags.owndata  # it is where the task put it
    output = workflow.run_async(large.bind(), workflow_id="large")
    assert not ray.get(output).flags.owndata
    del output
    assert not workflow.get_output("large").flags.owndata


@pytest.mark.parametrize("value", [[1], {"a": [1]}, bytearray(b"x"), (1, [2])], ids=repr)
def test_values_arrive_as_they_were(value):
    @ray.remote
    def twice(value):
        return [value, value]

    dag = twice.bind(value)
    for first, second in (workflow.run(dag), *awaited(workflow.run_async(dag))):
        assert (first, type(first)) == (value, type(value))
        assert first is second


def test_what_is_not_stored_is_an_output_of_its_run_only(path):
    """And is computed again when the workflow is run or resumed."""
    loose = counted.options(**workflow.options(checkpoint=False))
    assert workflow.run(loose.bind(path, 1), workflow_id="loose") == 1
    with pytest.raises(ValueError, match="it was not stored; resume the workflow to compute it"):
        workflow.get_output("loose")
    assert workflow.resume("loose") == 1
    assert workflow.run(loose.bind(path, 1), workflow_id="loose") == 1
    assert awaited(workflow.resume_async("loose")) == [1]
    assert len(noted(path)) == 4


# -- there is none


def test_errors_of_run_are_caught_as_those_of_ray():
    """As the documentation of Ray has it; the error reads as that of the workflow, and has the cause of the task."""
    with pytest.raises(
        ray.exceptions.RayTaskError, match=r"^Workflow\[id=caught\] failed .*: ValueError: oops$"
    ) as raised:
        workflow.run(failing.bind(), workflow_id="caught")
    error = raised.value
    assert isinstance(error, workflow.WorkflowExecutionError)
    assert (repr(error.__cause__), type(error).__name__) == ("ValueError('oops')", "WorkflowExecutionError")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), repr(again.__cause__)) == (str(error), "ValueError('oops')")
    assert isinstance(again, ray.exceptions.RayTaskError)
    with pytest.raises(ray.exceptions.RayTaskError) as raised:
        workflow.get_status("nobody's")
    assert isinstance(raised.value, workflow.WorkflowNotFoundError)


def test_the_output_of_what_is_not_there(path):
    """An error that names the reason and, as in ray.workflow, a ValueError."""
    workflow.run_async(held.bind(path), workflow_id="cancelled")
    wait_until_noted(f"{path}.started")
    workflow.cancel("cancelled")
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(failing.bind(), workflow_id="failed")
    workflow.run(add.bind(1), workflow_id="deleted")
    workflow.delete("deleted")
    reasons = {
        "unknown": workflow.WorkflowNotFoundError,
        "deleted": workflow.WorkflowNotFoundError,
        "cancelled": workflow.WorkflowCancellationError,
        "failed": workflow.WorkflowExecutionError,
    }
    for workflow_id, kind in reasons.items():
        for task in (None, "a task"):
            with pytest.raises(ValueError, match=workflow_id) as raised:
                workflow.get_output(workflow_id, task_id=task)
            assert isinstance(raised.value, kind)
            (error,) = awaited(workflow.get_output_async(workflow_id, task_id=task))
            assert isinstance(error, ValueError)
            assert isinstance(error, kind)
    assert repr(raised.value.__cause__) == "ValueError('oops')"


def test_a_task_that_a_failed_workflow_never_reached(path):
    last = add.options(**workflow.options(task_id="last"))

    @ray.remote
    def late(path):
        wait_until_noted(path)
        raise ValueError("late")

    workflow.run_async(last.bind(late.bind(path)), workflow_id="fails")
    output = workflow.get_output_async("fails", task_id="last")
    note(path)
    with pytest.raises(workflow.WorkflowExecutionError, match="ValueError: late"):
        ray.get(output, timeout=TIMEOUT)
    with pytest.raises(workflow.WorkflowExecutionError, match="ValueError: late"):
        workflow.get_output("fails", task_id="last")
