"""The blocks of the page "Key Concepts" of Ray's workflows, after one import is changed."""

from __future__ import annotations

import pytest
import ray

from functionfuse.backends.addons import rayworkflow as workflow


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, tmp_path_factory):
    workflow.init(storage=f"file:{tmp_path_factory.mktemp('data')}")


@ray.remote
def one() -> int:
    return 1


@ray.remote
def add(a: int, b: int) -> int:
    return a + b


def test_workflow_execution():
    dag = add.bind(100, one.bind())
    # Run the workflow until it completes and returns the output
    assert workflow.run(dag) == 101

    # Or you can run it asynchronously and fetch the output via 'ray.get'
    output_ref = workflow.run_async(dag)
    assert ray.get(output_ref) == 101


def test_getting_the_result_of_a_workflow():
    output = add.bind(100, one.bind())
    assert workflow.run(output, workflow_id="run_1") == 101
    assert workflow.get_status("run_1") == workflow.WorkflowStatus.SUCCESSFUL
    assert workflow.get_output("run_1") == 101
    # workflow.get_output_async returns an ObjectRef.
    assert ray.get(workflow.get_output_async("run_1")) == 101


def test_objects():
    @ray.remote
    def hello():
        return "hello"

    @ray.remote
    def words() -> list[ray.ObjectRef]:
        # NOTE: Here it is ".remote()" instead of ".bind()", so
        # it creates an ObjectRef instead of a DAG.
        return [hello.remote(), ray.put("world")]

    @ray.remote
    def concat(words: list[ray.ObjectRef]) -> str:
        return " ".join([ray.get(w) for w in words])

    assert workflow.run(concat.bind(words.bind())) == "hello world"


@ray.remote
def fib(n: int) -> int:
    if n <= 1:
        return n
    # return a continuation of a DAG
    return workflow.continuation(add.bind(fib.bind(n - 1), fib.bind(n - 2)))


def test_dynamic_workflows():
    assert workflow.run(fib.bind(10)) == 55


class MyEventListener(workflow.EventListener):
    async def poll_for_event(self):
        return "event"


def test_events():
    # Sleep is a special type of event.
    sleep_task = workflow.sleep(0.2)

    # `wait_for_events` allows for pluggable event listeners.
    event_task = workflow.wait_for_event(MyEventListener)

    @ray.remote
    def gather(*args):
        return args

    # If a task's arguments include events, the task won't be executed until all
    # of the events have occurred.
    assert workflow.run(gather.bind(sleep_task, event_task, "hello world")) == (None, "event", "hello world")
