"""The loop that drives engines, where an engine does not do what it should."""

from __future__ import annotations

import pytest

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.drive import drive
from functionfuse.errors import EngineError, NodeError
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import add, same


class Dropping:
    """Drops every call, though nobody stopped it."""

    window = 2

    def __init__(self):
        self.handles = []

    def submit(self, task, call):
        self.handles.append(task.name)
        return task.name

    def wait(self, seconds):
        return self.handles.pop()

    def outcome(self, handle):
        return None

    def stop(self, *, at_once):
        pass


class DroppingWorkflow(BaseWorkflow):
    def execute(self, run):
        drive(run, Dropping())


class Idle(BaseWorkflow):
    """Runs nothing, and says nothing of it."""

    def execute(self, run):
        pass


def made_with(kind, value, store):
    flow = kind(same(value).set_name("n"), workflow_name="w")
    flow.set_storage(store)
    return flow


@pytest.fixture
def store():
    """A store with a result of another recipe."""

    class Direct(BaseWorkflow):
        def execute(self, run):
            for task in run.in_order():
                run.perform_here(task)

    store = MemoryStore()
    made_with(Direct, 1, store).run()
    return store


def test_a_call_that_was_dropped_has_failed(store):
    with pytest.raises(NodeError, match="'n' was cancelled in the engine before it began, and not by this run"):
        made_with(DroppingWorkflow, 2, store).run()


def test_a_step_that_had_to_run_is_not_read_from_the_store(store):
    with pytest.raises(EngineError, match="the engine ended without the result of node 'n', which had to run"):
        made_with(Idle, 2, store).run()
    with pytest.raises(EngineError, match="'n'"):
        Idle(same(2).set_name("n"), workflow_name="w").run()
    assert made_with(Idle, 1, store).run() == 1


def test_nor_as_an_argument(store):
    class OnlyTheLast(BaseWorkflow):
        def execute(self, run):
            *_, last = run.in_order()
            run.perform_here(last)

    flow = OnlyTheLast(add(same(2).set_name("n"), 1).set_name("last"), workflow_name="w")
    flow.set_storage(store)
    with pytest.raises(NodeError, match="'last' failed: EngineError: the engine ended without the result of node 'n'"):
        flow.run()
