"""The memory store passes the conformance suite of stores, and the conformance suite guards itself."""

from __future__ import annotations

import subprocess
import sys
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


def test_it_needs_no_pytest():
    code = "import sys, functionfuse.testing.memory_store; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_standard_test_cannot_be_replaced():
    with pytest.raises(TypeError, match="test_has_task"):

        class Broken(StoreTests):
            def test_has_task(self, store):
                pass


def test_a_standard_test_cannot_be_deleted():
    with pytest.raises(TypeError, match="test_has_task"):

        class Broken(StoreTests):
            test_has_task = None


def test_a_standard_test_cannot_be_replaced_by_a_mixin():
    class Mixin:
        def test_has_task(self, store):
            pass

    with pytest.raises(TypeError, match="test_has_task"):

        class Broken(Mixin, StoreTests):
            pass


def test_an_expected_failure_needs_a_reason():
    with pytest.raises(TypeError, match="test_has_task"):

        class Broken(StoreTests):
            @pytest.mark.xfail
            def test_has_task(self, store):
                super().test_has_task(store)

    class Excused(StoreTests):
        @pytest.mark.xfail(reason="eventually consistent listing")
        def test_has_task(self, store):
            super().test_has_task(store)
