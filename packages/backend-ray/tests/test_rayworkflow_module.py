"""The public API of durable workflows, as that of ray.workflow was."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.dag import InputNode
from rayworkflow_tasks import (
    add,
    counted,
    fail_unless_ready,
    failing,
    gather,
    held,
    note,
    noted,
    pid_of,
    record,
    wait_until_noted,
)

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow.common import Event
from functionfuse.backends.addons.rayworkflow.event_listener import EventListenerType, TimerListener
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until


@pytest.fixture(scope="module")
def store(root):
    return FileStore(root, durable=False)


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, store):
    workflow.init(storage=store, max_running_workflows=6, max_pending_workflows=2)


# -- run, ids, results


def test_a_dag_runs_and_is_found_by_its_id():
    dag = add.bind(100, add.bind(1))
    assert workflow.run(dag, workflow_id="sum") == 101
    assert workflow.get_status("sum") == workflow.SUCCESSFUL == "SUCCESSFUL"
    assert workflow.get_output("sum") == 101
    assert ray.get(workflow.get_output_async("sum")) == 101
    assert ("sum", workflow.SUCCESSFUL) in workflow.list_all()


def test_a_second_run_of_an_id_gives_the_stored_result(path):
    assert workflow.run(counted.bind(path, 1), workflow_id="again") == 1
    assert workflow.run(counted.bind(path, 2), workflow_id="again") == 1
    assert workflow.resume("again") == 1
    assert len(noted(path)) == 1


def test_a_shared_node_runs_once(path):
    shared = counted.bind(path, 2)
    assert workflow.run(add.bind(shared, shared, add.bind(shared))) == 6
    assert len(noted(path)) == 1


def test_nodes_within_containers_are_references():
    @ray.remote
    def joined(words, *, more):
        return " ".join([*ray.get(words), ray.get(more["x"])])

    @ray.remote
    def say(word):
        return word

    a = say.bind("a")
    assert workflow.run(joined.bind([a, say.bind("b")], more={"x": a})) == "a b a"


def test_input_nodes_take_the_arguments_of_the_run():
    with InputNode() as given:
        dag = add.bind(given[0], given.x)
    assert workflow.run(dag, 1, x=10) == 11
    with InputNode() as given:
        single = add.bind(given, 1)
    assert workflow.run(single, 5) == 6


def test_arguments_are_captured():
    values = [1]
    reference = workflow.run_async(gather.bind(values))
    values.append(2)
    assert ray.get(reference) == ([1],)


def test_a_chain_and_a_fan_of_any_length():
    node = add.bind(0)
    for _ in range(600):
        node = add.bind(node, 1)
    assert workflow.run(node) == 600
    assert workflow.run(add.bind(*[add.bind(1) for _ in range(300)])) == 300


def test_what_is_no_dag_is_refused():
    with pytest.raises(TypeError, match="Input should be a DAG"):
        workflow.run(1)

    @ray.remote
    class Counter:
        pass

    with pytest.raises(TypeError, match="made from functions that are bound, not from ClassNode"):
        workflow.run(add.bind(Counter.bind()))
    with pytest.raises(ValueError, match="only have one return"):
        workflow.run(add.options(num_returns=2).bind(1))


def test_arguments_that_a_function_does_not_take_are_refused_before_anything_is_stored(path, store):
    @ray.remote
    def takes(a, b, *, c=1):
        return a, b, c

    first = counted.bind(path, ray.put(1))
    for node in (takes.bind(), takes.bind(first), takes.bind(1, 2, 3), takes.bind(1, 2, d=3), add.bind(takes.bind(1))):
        with pytest.raises(TypeError, match=r"takes\(a, b, \*, c=1\) is bound to other arguments: "):
            workflow.run_async(node, workflow_id="refused")
    assert "durable/refused" not in store.list_workflows()
    assert workflow.run(takes.bind(first, b=2)) == (1, 2, 1)

    @ray.remote
    def returns():
        return workflow.continuation(takes.bind(1))

    with pytest.raises(workflow.WorkflowExecutionError, match=r"TypeError: .*missing a required argument: 'b'"):
        workflow.run(returns.bind())


def test_task_ids_are_names_with_numbers():
    a, b = add.options(**workflow.options(task_id="x")).bind(1), add.options(**workflow.options(task_id="x")).bind(2)
    workflow.run(gather.bind(a, b), workflow_id="names")
    assert workflow.get_output("names", task_id="x") == 1
    assert workflow.get_output("names", task_id="x_1") == 2
    assert workflow.get_output("names", task_id="rayworkflow_tasks.gather") == (1, 2)
    with pytest.raises(ValueError, match="task id 'y'"):
        workflow.get_output("names", task_id="y")


def test_the_output_of_a_task_can_be_asked_for_before_it_runs(path):
    waiting = add.options(**workflow.options(task_id="late")).bind(held.bind(path, 5), 1)
    workflow.run_async(waiting, workflow_id="ahead")
    wait_until_noted(f"{path}.started")
    output = workflow.get_output_async("ahead", task_id="late")
    assert workflow.get_status("ahead") == workflow.RUNNING
    assert ("ahead", workflow.RUNNING) in workflow.list_all(workflow.RUNNING)
    note(path)
    assert ray.get(output) == 6


# -- references


def test_references_are_stored_once_and_shared():
    big = ray.put(np.arange(100_000))

    @ray.remote
    def total(array, boxed):
        return int(array.sum() + ray.get(boxed[0]).sum())

    assert workflow.run(add.bind(*[total.bind(big, [big]) for _ in range(3)]), workflow_id="shared") == 6 * 4999950000


@ray.remote
def returned_words():
    return [add.remote(1, 2), ray.put("b")]


def test_references_that_a_task_returns_are_stored():
    @ray.remote
    def joined(found):
        return " ".join(str(word) for word in ray.get(found))

    assert workflow.run(joined.bind(returned_words.bind()), workflow_id="refs") == "3 b"
    assert ray.get(workflow.get_output("refs", task_id=f"{__name__}.returned_words")) == [3, "b"]


# -- continuations


@ray.remote
def fib(n):
    return n if n <= 1 else workflow.continuation(add.bind(fib.bind(n - 1), fib.bind(n - 2)))


def test_recursion():
    assert workflow.run(fib.bind(7)) == 13


def test_a_loop_of_many_continuations():
    @ray.remote
    def down(n):
        return 0 if not n else workflow.continuation(down.bind(n - 1))

    assert workflow.run(down.bind(100), workflow_id="down") == 0
    assert workflow.get_output("down") == 0


def test_a_deep_recursion_goes_on_near_where_it_was(path, store):
    @ray.remote
    def down(n):
        note(path, n)
        if not n and len(noted(path)) == 251:
            raise OSError("not yet")
        return 0 if not n else workflow.continuation(down.bind(n - 1))

    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(down.bind(250), workflow_id="deep")
    links = store.list_tasks("durable/deep", "*/link/*")
    assert [int(name.rpartition("/")[2]) for name in links] == [100, 200]
    link = store.read_task("durable/deep", links[1])[1]
    stored = store.list_tasks("durable/deep", "*/out/*")
    when = {name: store.info("durable/deep", name)["meta"]["start_time"] for name in stored}
    (late,) = [name for name in stored if name.endswith(f"/out/{link}")]
    for name in stored:  # what lies between is not looked at
        if name.count("@") and when[name] < when[late]:
            store.remove_task("durable/deep", name)
    assert workflow.resume("deep") == 0
    assert noted(path)[251:] == ["0"]
    assert workflow.get_output("deep") == 0


def test_a_continuation_takes_nodes_and_its_consumers_wait_for_it():
    @ray.remote
    def twice(x):
        return workflow.continuation(add.bind(x, x))

    assert workflow.run(add.bind(twice.bind(2), twice.bind(twice.bind(3)))) == 16


def test_outside_of_workflows_a_continuation_is_executed():
    assert workflow.continuation(add.bind(add.bind(1), [2][0])) == 3
    with pytest.raises(TypeError, match="should be a DAG"):
        workflow.continuation(1)


def test_a_node_in_a_returned_container_is_an_error_that_says_what_to_do():
    @ray.remote
    def wrong():
        return [add.bind(1)]

    with pytest.raises(workflow.WorkflowExecutionError, match=r"return workflow.continuation\(node\)"):
        workflow.run(wrong.bind())


# -- failures


def test_a_failure_is_told_with_its_cause_and_recorded():
    with pytest.raises(workflow.WorkflowExecutionError, match="failing': ValueError: oops") as raised:
        workflow.run(add.bind(failing.bind()), workflow_id="failed")
    assert repr(raised.value.__cause__) == "ValueError('oops')"
    assert workflow.get_status("failed") == workflow.FAILED
    with pytest.raises(workflow.WorkflowExecutionError) as raised:
        workflow.get_output("failed")
    assert repr(raised.value.__cause__) == "ValueError('oops')"
    with pytest.raises(workflow.WorkflowExecutionError):
        ray.get(workflow.get_output_async("failed"))


def test_a_failed_workflow_goes_on_from_what_is_stored(path):
    @ray.remote
    def once(x, flag):
        if not Path(flag).exists():
            note(flag)
            raise OSError("not yet")
        return x

    dag = once.bind(counted.bind(path, 3), f"{path}.flag")
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(dag, workflow_id="go on")
    assert workflow.resume("go on") == 3
    assert len(noted(path)) == 1


def test_a_failure_stops_what_runs(path):
    @ray.remote
    def late(path):
        wait_until_noted(f"{path}.started")
        raise ValueError("late")

    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(gather.bind(held.bind(path), late.bind(path)), workflow_id="siblings")
    assert workflow.get_status("siblings") == workflow.FAILED
    assert (noted(f"{path}.started"), noted(f"{path}.ended")) == (["x"], [])


def test_functions_are_called_again_after_certain_exceptions(path):
    @ray.remote(max_retries=2, retry_exceptions=[OSError])
    def flaky(path, kind):
        note(path)
        if len(noted(path)) < 3:
            raise kind("again")
        return len(noted(path))

    assert workflow.run(flaky.bind(path, OSError)) == 3
    with pytest.raises(workflow.WorkflowExecutionError, match="KeyError"):
        workflow.run(flaky.bind(f"{path}.other", KeyError))
    assert len(noted(f"{path}.other")) == 1


@ray.remote(max_retries=2, retry_exceptions=True)
def unstable(path, ends):
    """Does in each attempt what a letter says: raises an exception, crashes, or returns which attempt it is."""
    note(path)
    attempt = len(noted(path))
    end = ends[attempt - 1]
    if end == "x":
        raise ValueError("again")
    if end == "c":
        os._exit(1)
    return attempt


ISOLATED = workflow.options(isolate=True)


@pytest.mark.slow(reason="a worker that is killed and waited for")
@pytest.mark.parametrize("options", [{}, ISOLATED], ids=["a task", "an isolated task"])
def test_exceptions_and_crashes_are_counted_together(path, options):
    task = unstable.options(**options)
    assert workflow.run(task.bind(path, "xcr"), workflow_id=f"unstable {bool(options)}") == 3
    stats = workflow.get_metadata(f"unstable {bool(options)}", f"{__name__}.unstable")["stats"]
    assert stats["attempts"] == 3
    for ends in ("cxxr", "xxcr"):
        with pytest.raises(workflow.WorkflowExecutionError):
            workflow.run(task.bind(f"{path}.{ends}", ends))
        assert len(noted(f"{path}.{ends}")) == 3


@pytest.mark.slow(reason="a worker that is killed and waited for")
def test_a_caught_exception_is_that_of_the_last_attempt(path):
    careful = unstable.options(**workflow.options(catch_exceptions=True))
    value, error = workflow.run(careful.bind(path, "xcx"))
    assert (value, repr(error)) == (None, "ValueError('again')")
    assert len(noted(path)) == 3


@pytest.mark.slow(reason="a worker that is killed and waited for")
def test_a_worker_that_dies_is_replaced(path):
    @ray.remote
    def dying(path):
        note(path)
        if len(noted(path)) < 3:
            os._exit(1)
        return "alive"

    assert workflow.run(dying.bind(path)) == "alive"


caught = workflow.options(catch_exceptions=True)


def test_caught_exceptions_are_results():
    value, error = workflow.run(failing.options(**caught).bind(), workflow_id="caught")
    assert (value, repr(error)) == (None, "ValueError('oops')")
    assert workflow.get_status("caught") == workflow.SUCCESSFUL
    assert repr(workflow.get_output("caught")) == "(None, ValueError('oops'))"
    assert workflow.run(add.options(**caught).bind(1)) == (1, None)


@ray.remote
def interrupted(_=None):
    raise KeyboardInterrupt


@ray.remote
def unpicklable(_=None):
    return threading.Lock()


@ray.remote
def unresolved(_=None):
    raise ray.exceptions.GetTimeoutError


@pytest.mark.parametrize("checkpoint", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize(
    ("fails", "kind"),
    [(interrupted, KeyboardInterrupt), (unpicklable, TypeError), (unresolved, ray.exceptions.GetTimeoutError)],
    ids=["interrupt", "result", "error of Ray"],
)
def test_whatever_a_function_raises_or_returns_is_caught(fails, kind, checkpoint, request):
    task = fails.options(**workflow.options(catch_exceptions=True, checkpoint=checkpoint))
    value, error = workflow.run(task.bind(), workflow_id=request.node.name)
    assert value is None
    assert isinstance(error, kind)
    if checkpoint:
        value, error = workflow.get_output(request.node.name)
        assert isinstance(error, kind)

    @workflow.options(catch_exceptions=True, checkpoint=checkpoint)
    @ray.remote
    def careful():
        return workflow.continuation(add.bind(fails.bind()))

    value, error = workflow.run(careful.bind())
    assert value is None
    assert isinstance(error, kind)


def test_what_is_not_caught_fails_the_workflow():
    with pytest.raises(workflow.WorkflowExecutionError, match="KeyboardInterrupt") as raised:
        workflow.run(interrupted.bind())
    assert isinstance(raised.value.__cause__, KeyboardInterrupt)


def test_a_task_catches_what_its_continuation_raises():
    @workflow.options(catch_exceptions=True)
    @ray.remote
    def careful(ok):
        return workflow.continuation(add.bind(add.bind(1) if ok else failing.bind(), 1))

    assert workflow.run(gather.bind(careful.bind(True)), workflow_id="careful") == ((2, None),)
    ((value, error),) = workflow.run(gather.bind(careful.bind(False)), workflow_id="careful not")
    assert (value, repr(error)) == (None, "ValueError('oops')")
    assert repr(workflow.get_output("careful not")) == "((None, ValueError('oops')),)"


def test_what_is_not_to_be_stored_runs_again(path):
    loose = counted.options(**workflow.options(checkpoint=False)).bind(path, 1)
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(gather.bind(loose, failing.bind(loose)), workflow_id="loose")
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.resume("loose")
    assert len(noted(path)) == 2


# -- options, metadata


def test_options_are_checked():
    with pytest.raises(ValueError, match="Invalid option keywords mistake"):
        workflow.options(mistake=1)
    with pytest.raises(ValueError, match="metadata must be a dict"):
        workflow.options(metadata=1)
    with pytest.raises(ValueError, match="JSON serializable"):
        workflow.run(add.bind(1), metadata={"x": object()})
    with pytest.raises(ValueError, match="Only apply"):
        workflow.options(checkpoint=False)(len)


def test_metadata():
    task = add.options(num_cpus=0.5, **workflow.options(task_id="trip", metadata={"k1": "v1"})).bind(add.bind(1))
    workflow.run(task, workflow_id="trip1", metadata={"k2": "v2"})
    known = workflow.get_metadata("trip1")
    assert known["stats"]["start_time"] <= known["stats"]["end_time"]
    assert (known["status"], known["user_metadata"]) == ("SUCCESSFUL", {"k2": "v2"})
    known = workflow.get_metadata("trip1", "trip")
    assert known["stats"]["start_time"] <= known["stats"]["end_time"]
    assert known["task_options"] == {
        "task_type": "FUNCTION",
        "max_retries": 3,
        "catch_exceptions": False,
        "retry_exceptions": False,
        "checkpoint": True,
        "ray_options": {"num_cpus": 0.5},
    }
    assert (known["task_id"], known["user_metadata"], known["workflow_refs"]) == (
        "trip",
        {"k1": "v1"},
        ["rayworkflow_tasks.add"],
    )
    workflow.resume("trip1")  # which has nothing to do
    assert workflow.get_metadata("trip1", "trip") == known
    with pytest.raises(ValueError, match="No such task_id 'x' in workflow 'trip1'"):
        workflow.get_metadata("trip1", "x")
    with pytest.raises(ValueError, match="No such workflow_id 'x'"):
        workflow.get_metadata("x")


def test_the_times_of_a_workflow_are_those_of_its_last_run(path):
    """As in ray.workflow, where a cancelled workflow has no end."""

    @ray.remote
    def ready(path):
        fail_unless_ready(path)
        return held.bind(path)

    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(ready.bind(path), workflow_id="times")
    failed = workflow.get_metadata("times")["stats"]
    assert failed["start_time"] <= failed["end_time"]
    note(f"{path}.ready")
    workflow.resume_async("times")
    wait_until_noted(f"{path}.started")
    running = workflow.get_metadata("times")["stats"]
    assert list(running) == ["start_time"]
    assert failed["end_time"] <= running["start_time"]
    workflow.cancel("times")
    assert workflow.get_metadata("times") == {"status": "CANCELED", "user_metadata": {}, "stats": running}
    note(path)
    workflow.resume("times")
    resumed = workflow.get_metadata("times")["stats"]
    assert running["start_time"] < resumed["start_time"] <= resumed["end_time"]


# -- cancel, delete, limits


def test_cancel_stops_running_tasks(path):
    output = workflow.run_async(gather.bind(held.bind(path)), workflow_id="cancelled")
    wait_until_noted(f"{path}.started")
    workflow.cancel("cancelled")
    assert noted(f"{path}.ended") == []
    assert workflow.get_status("cancelled") == workflow.CANCELED
    with pytest.raises(workflow.WorkflowCancellationError):
        ray.get(output)
    with pytest.raises(workflow.WorkflowNotResumableError, match="was cancelled"):
        workflow.run(add.bind(1), workflow_id="cancelled")
    assert "cancelled" not in [workflow_id for workflow_id, _ in workflow.resume_all(include_failed=False)]
    note(path)
    assert workflow.resume("cancelled") == (1,)


def test_delete(path):
    workflow.run_async(held.bind(path), workflow_id="deleted")
    wait_until_noted(f"{path}.started")
    with pytest.raises(workflow.WorkflowStillActiveError):
        workflow.delete("deleted")
    with pytest.raises(RuntimeError, match="already running or pending"):
        workflow.run(add.bind(1), workflow_id="deleted")
    note(path)
    workflow.get_output("deleted")
    workflow.delete("deleted")
    for ask in (workflow.get_status, workflow.delete, workflow.get_output):
        with pytest.raises(workflow.WorkflowNotFoundError):
            ask("deleted")
    with pytest.raises(workflow.WorkflowNotFoundError):
        workflow.cancel("deleted")
    with pytest.raises(workflow.WorkflowNotResumableError):
        workflow.resume("deleted")
    assert workflow.run(add.bind(7), workflow_id="deleted") == 7


@pytest.mark.slow(reason="workflows that wait for another one")
def test_limits_and_pending_workflows(path):
    ids = [f"limit {number}" for number in range(8)]
    outputs = [workflow.run_async(held.bind(path), workflow_id=workflow_id) for workflow_id in ids]
    assert [workflow.get_status(ids[0]), workflow.get_status(ids[7])] == [workflow.RUNNING, workflow.PENDING]
    with pytest.raises(queue.Full, match="queue has been full"):
        workflow.run_async(add.bind(1), workflow_id="too many")
    workflow.cancel(ids[7])
    assert workflow.get_status(ids[7]) == workflow.CANCELED
    note(path)
    assert ray.get(outputs[:7]) == [1] * 7


@pytest.mark.slow(reason="a controller that is killed while many workflows wait")
def test_pending_workflows_outlive_the_controller(path, store):
    ids = [f"queued {number}" for number in range(8)]
    outputs = [workflow.run_async(held.bind(path), workflow_id=workflow_id) for workflow_id in ids]
    assert workflow.get_status(ids[7]) == workflow.PENDING
    os.kill(pid_of(b"ray::Controller"), signal.SIGKILL)
    assert [workflow.get_status(ids[0]), workflow.get_status(ids[7])] == [workflow.RUNNING, workflow.PENDING]
    note(path)
    assert ray.get(outputs) == [1] * 8


def test_init_again_must_say_the_same(tmp_path):
    workflow.init()
    workflow.init(max_running_workflows=6)
    with pytest.raises(ValueError, match=r"called again with other options than at first.*max_running=6"):
        workflow.init(max_running_workflows=3)
    with pytest.raises(ValueError, match="At first: storage=FileStore"):
        workflow.init(storage=tmp_path / "elsewhere")
    with pytest.raises(TypeError, match="must be None or an integer"):
        workflow.init(max_running_workflows="3")
    with pytest.raises(ValueError, match="must be a positive integer"):
        workflow.init(max_running_workflows=0)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a lease must be a positive number of seconds"):
            workflow.init(lease_seconds=seconds)
    with pytest.raises(TypeError, match="a lease must be a number of seconds, not '3'"):
        workflow.init(lease_seconds="3")


def test_wrong_ids_and_filters():
    with pytest.raises(TypeError, match="has to be a string"):
        workflow.get_status(1)
    with pytest.raises(TypeError, match="status_filter"):
        workflow.list_all([workflow.RUNNING])
    assert workflow.list_all({"RUNNING"}) == []


# -- waits


@pytest.mark.slow(reason="it sleeps")
def test_sleep_ends_not_before_its_time(root):
    assert workflow.run(gather.bind(workflow.sleep(0.3), 1), workflow_id="slept") == (None, 1)
    until = record(root, "slept", "wait", "*sleep")[1]
    stats = workflow.get_metadata("slept")["stats"]
    assert stats["start_time"] + 0.3 <= until <= stats["end_time"]


def test_the_names_of_ray_for_events():
    waits = workflow.wait_for_event(TimerListener, time.time() + 0.1)
    assert workflow.run(gather.bind(waits, workflow.wait_for_event(TimerListener, 0))) == (None, None)
    assert issubclass(TimerListener, workflow.EventListener)
    assert EventListenerType
    assert Event


class FileListener(workflow.EventListener):
    async def poll_for_event(self, path):
        wait_until(lambda: Path(path).exists())  # blocks its thread, as users' listeners do
        return Path(path).name


@pytest.mark.slow(reason="events that are waited for")
def test_events_wait_in_one_actor_and_hold_no_worker(path):
    class Listener(FileListener):
        async def event_checkpointed(self, event):
            note(f"{path}.checkpointed", event)

    events = [workflow.wait_for_event(Listener, f"{path}.{number}") for number in range(5)]
    output = workflow.run_async(gather.bind(*events), workflow_id="events")
    assert workflow.run(add.bind(1, 2)) == 3  # five waits on two processors
    for number in range(5):
        note(f"{path}.{number}")
    assert ray.get(output) == tuple(f"notes.{number}" for number in range(5))
    assert sorted(noted(f"{path}.checkpointed")) == [f"notes.{number}" for number in range(5)]


def test_a_wait_takes_results_of_nodes_and_can_be_cancelled(path):
    @ray.remote
    def joined(a, b):
        return a + b

    event = workflow.wait_for_event(FileListener, joined.bind(path, ".never"))
    output = workflow.run_async(gather.bind(event, workflow.sleep(1000)), workflow_id="cancelled waits")
    workflow.cancel("cancelled waits")
    with pytest.raises(workflow.WorkflowCancellationError):
        ray.get(output)


@pytest.mark.slow(reason="many runs")
def test_a_workflow_is_cancelled_at_any_moment():
    for number in range(8):
        output = workflow.run_async(gather.bind(add.bind(1), workflow.sleep(1000)), workflow_id=f"moment {number}")
        time.sleep(number * 0.005)
        workflow.cancel(f"moment {number}")
        assert workflow.get_status(f"moment {number}") == workflow.CANCELED
        with pytest.raises(workflow.WorkflowCancellationError):
            ray.get(output)


def test_a_listener_that_fails_fails_the_workflow():
    class Broken(workflow.EventListener):
        async def poll_for_event(self):
            raise OSError("no connection")

    with pytest.raises(workflow.WorkflowExecutionError, match="OSError: no connection"):
        workflow.run(workflow.wait_for_event(Broken))
    with pytest.raises(TypeError, match="not a subclass"):
        workflow.wait_for_event(int)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_whatever_a_listener_raises_fails_its_workflow_only(kind):
    class Broken(workflow.EventListener):
        async def poll_for_event(self):
            raise kind("no connection")

    other = workflow.run_async(gather.bind(workflow.sleep(0.5), 1))
    with pytest.raises(workflow.WorkflowExecutionError, match=f"{kind.__name__}: no connection"):
        workflow.run(workflow.wait_for_event(Broken))
    assert ray.get(other, timeout=60) == (None, 1)
