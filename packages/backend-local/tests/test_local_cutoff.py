"""What a run asks its store when the inputs of steps turn out as they were, or not."""

from __future__ import annotations

from collections import Counter

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.testing.memory_store import MemoryStore


@workflow
def parity(number):
    return number % 2


@workflow
def add(value, number):
    return value + number


@workflow
def total(values):
    return sum(values)


class CountingStore(MemoryStore):
    """Counts what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = Counter()

    def result_info(self, workflow_name, digest):
        self.asked["result_info"] += 1
        return super().result_info(workflow_name, digest)

    def link_results(self, workflow_name, digests):
        self.asked["link_results"] += 1
        return super().link_results(workflow_name, digests)


@pytest.fixture
def run():
    """Run ten nodes that take one, and one that takes theirs; return the result and what the store was asked for."""
    store = CountingStore()

    def run_with(number):
        source = parity(number).set_name("source")
        flow = LocalWorkflow(total([add(source, more) for more in range(10)]), workflow_name="w")
        flow.set_storage(store)
        store.asked.clear()
        return flow.run(), dict(store.asked)

    return run_with


def test_a_changed_result_is_looked_at_once(run):
    run(2)
    assert run(3) == (55, {"result_info": 1 + 10})  # that of `source`, and of each that took it


def test_what_is_reused_after_an_equal_result_is_looked_at_once(run):
    run(2)
    assert run(4) == (45, {"result_info": 1 + 11, "link_results": 11})  # that of `source`, and of each that is reused
