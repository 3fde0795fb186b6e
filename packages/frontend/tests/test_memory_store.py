"""The memory store passes the conformance suite of stores, and counts the calls of its methods."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from functionfuse.testing.memory_store import MemoryStore
from functionfuse.testing.store_tests import StoreTests


class TestMemoryStore(StoreTests):
    @pytest.fixture
    def store(self):
        return MemoryStore()


def test_every_verb_is_counted():
    store = MemoryStore()
    store.new_workflow("w")
    store.save("w", "a", 1)
    store.save("w", "b", 2)
    store.read_task("w", "a")
    store.has_tasks("w", ["a", "b"])
    store.list_tasks("w")
    store.remove_task("w", pattern="*")
    assert store.counts == {
        "new_workflow": 1,
        "save": 2,
        "read_task": 1,
        "has_tasks": 1,
        "list_tasks": 1,
        "remove_task": 1,
    }


def test_counts_of_many_threads_add_up():
    store = MemoryStore()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.save("w", f"{n}", n), range(400)))
    assert store.counts["save"] == 400
    assert len(store.list_tasks("w")) == 400
