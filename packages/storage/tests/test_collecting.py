"""Results that are collected, beside runs, readers and killed writers, on a disk that somebody else changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress

import numpy as np
import pytest
from memory_objects import MemoryClient

from functionfuse import workflow
from functionfuse.errors import StorageError, TaskNotFound
from functionfuse.files import File
from functionfuse.storage import FileStore
from functionfuse.storage._object.transport import ObjectTransport
from functionfuse.storage._store.store import RecordStore
from functionfuse.stores import objects_of, runs_of

BACKEND = "functionfuse.backends.builtin.localback"
LocalWorkflow = pytest.importorskip(BACKEND, reason="the local backend is not installed").LocalWorkflow
DAY = 86400
ALL = {"keep_runs": 1, "older_than": 0, "grace": 0}
"""Limits that keep no result but those of names and of the last run."""


def save(store, name, value, digest, workflow="w"):
    store.save(workflow, name, value, recipe={"digest": digest})


def results(root):
    return sorted(path.name for path in (root / ".results").glob("*.ffr"))


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


@workflow
def scaled(factor):
    return [factor] * 3


@workflow
def rounded(values):
    return [round(value) for value in values]


@workflow
def summed(values):
    return sum(values)


@workflow
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


@workflow
def written_file(path, size):
    return File(path)


def run(store, *nodes):
    local = LocalWorkflow(*nodes, workflow_name="w")
    local.set_storage(store)
    return local.run()


class TestAges:
    """A result stays that was made or read within `older_than`."""

    @pytest.fixture
    def old(self, store, root):
        """The file of a result that no name has, made two days ago."""
        save(store, "a", b"v" * 100_000, "d1")
        save(store, "a", 2, "d2")
        path = root / ".results" / "d1.ffr"
        age(path, 2 * DAY)
        return path

    def test_what_was_neither_made_nor_read_lately_goes(self, store, old):
        age(old, DAY - 60)
        assert store.gc() == []
        age(old, DAY + 60)
        assert store.gc() == ["d1"]
        assert store.gc() == []

    def test_looking_at_a_result_is_no_use(self, store, old):
        store.result_info("w", "d1")
        store.gc(dry_run=True)
        assert store.gc() == ["d1"]

    def test_reading_is_a_use_whatever_the_system_notes(self, store, root, old):
        store.link_results("other", {"b": "d1"})
        age(old, 2 * DAY)
        made = old.stat().st_mtime_ns
        store.read_task("other", "b")
        store.save("other", "b", 1)
        assert old.stat().st_mtime_ns == made
        for reference in (root / ".results").glob("d1@*"):
            age(reference, 2 * DAY)
        assert "d1" not in store.gc()
        age(old, 2 * DAY)
        assert "d1" in store.gc()

    def test_what_a_plan_found_may_be_gone_when_it_shall_get_a_name(self, store, old):
        assert store.find_results("w", {"a": "d1"}) == {"a"}
        assert store.gc() == ["d1"]
        assert isinstance(store.link_results("w", {"a": "d1"})["a"], TaskNotFound)
        assert store.read_task("w", "a") != b"v" * 100_000

    def test_giving_it_a_name_is_a_use(self, store, old):
        store.link_results("w", {"a": "d1"})
        save(store, "a", 2, "d2")
        assert store.gc() == []

    def test_a_use_in_the_moment_of_removal(self, store, old, monkeypatch):
        rename = os.rename

        def used_before(*names):
            store._transport.mark_used(".results", "d1")
            rename(*names)

        monkeypatch.setattr(os, "rename", used_before)
        assert store.gc() == []
        store.link_results("w", {"a": "d1"})
        assert store.read_task("w", "a") == b"v" * 100_000
        assert store.gc("w", 0) == []

    def test_a_new_result_in_the_moment_of_removal(self, store, old, monkeypatch):
        rename = os.rename

        def saved_before(*names):
            monkeypatch.setattr(os, "rename", rename)
            save(store, "b", "new", "d1")
            rename(*names)

        monkeypatch.setattr(os, "rename", saved_before)
        assert store.gc() == []
        store.link_results("other", {"c": "d1"})
        assert store.read_task("other", "c") == "new"


class TestNames:
    def test_without_hard_links(self, store, root, monkeypatch):
        def refuse(*arguments):
            raise OSError(1, "no hard links here")

        monkeypatch.setattr(os, "link", refuse)
        for number in range(3):
            save(store, "a", bytes([number]) * 100_000, f"d{number}")
        store.link_results("other", {"b": "d0"})
        removed = store.gc(**ALL)
        assert removed[0] == "d1"
        assert store.read_task("w", "a") == b"\2" * 100_000
        assert store.read_task("other", "b") == b"\0" * 100_000
        assert store.gc(**ALL) == []

    def test_a_name_that_cannot_be_read_keeps_its_result(self, store, root):
        save(store, "a", 1, "d1")
        name = root / "w" / "a.ffr"
        name.unlink()
        name.write_bytes(b"garbage")
        assert store.gc(**ALL) == []
        store.link_results("w", {"a": "d1"})
        assert store.read_task("w", "a") == 1

    def test_a_reference_whose_copy_beside_the_result_is_lost_keeps_it(self, store, root):
        save(store, "a", 1, "d1")
        store.link_results("other", {"b": "d1"})
        save(store, "a", 2, "d2")
        for reference in (root / ".results").glob("d1@*"):
            reference.unlink()
        assert store.gc(**ALL) == []
        assert store.read_task("other", "b") == 1

    def test_stale_references_go_after_the_grace(self, store, root):
        save(store, "a", 1, "d1")
        store.link_results("other", {"b": "d1"})
        save(store, "b", 2, "d2", workflow="other")
        [reference] = (root / ".results").glob("d1@*")
        assert store.gc() == []
        age(reference, DAY + 60)
        assert store.gc() == [reference.stem]
        assert store.read_task("w", "a") == 1
        assert results(root) == ["d1.ffr", "d2.ffr"]

    def test_what_serializers_keep_beside_goes_too(self, blob_store, blobby, root):
        save(blob_store, "a", blobby(b"v" * 1000), "d1")
        save(blob_store, "a", blobby(b"w" * 1000), "d2")
        expected = blob_store.gc(**ALL, dry_run=True)
        removed = blob_store.gc(**ALL)
        assert removed == expected
        assert (removed[0], len(removed)) == ("d1", 2)
        assert removed.freed == expected.freed > 1000
        assert blob_store.read_task("w", "a").content == b"w" * 1000
        assert len(list((root / ".results" / ".big").iterdir())) == 1

    def test_notes_of_equal_results_go_with_the_results(self, store, root):
        save(store, "a", 1, "d1")
        store.equate_results("w", "d1", "d0")
        store.remove_task("w", "a")
        assert store.gc() == []
        assert store.equal_results() == {"d1": "d0"}
        assert store.gc(grace=0) == ["d1@d0"]
        assert store.equal_results() == {}


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_a_name_that_comes_meanwhile_keeps_a_result_in_a_bucket(monkeypatch, size):
    transport = ObjectTransport(MemoryClient(uuid.uuid4().hex), "results/")
    store = RecordStore(transport)
    save(store, "a", bytes(size), "d1")
    save(store, "a", 2, "d2")
    remove = transport.remove_unused

    def named_before(folder, uses):
        store.link_results("other", {"b": "d1"})
        return remove(folder, uses)

    monkeypatch.setattr(transport, "remove_unused", named_before)
    assert "d1" not in store.gc(**ALL)
    assert store.read_task("other", "b") == bytes(size)


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b"garbage" * 100])
    def test_a_damaged_result_without_a_name_goes(self, store, root, content):
        save(store, "a", 1, "d1")
        save(store, "a", 2, "d2")
        (root / ".results" / "d1.ffr").write_bytes(content)
        removed = store.gc(**ALL)
        assert removed == ["d1"]
        assert "cannot be read" in str(removed)

    def test_a_damaged_result_with_a_name_stays(self, store, root):
        save(store, "a", 1, "d1")
        store.link_results("other", {"b": "d1"})
        path = root / ".results" / "d1.ffr"
        path.unlink()
        path.write_bytes(b"garbage")
        assert store.gc(**ALL) == []

    def test_files_that_are_no_results(self, store, root):
        save(store, "a", 1, "d1")
        (root / ".results" / "strange").write_bytes(b"")
        (root / ".results" / "folder.ffr").mkdir()
        with suppress(StorageError):
            store.gc(**ALL)
        assert store.read_task("w", "a") == 1
        assert (root / ".results" / "strange").exists()


class TestRuns:
    def test_a_result_that_was_found_by_equal_inputs(self, store):
        """A run keeps what it found under another recipe than that of its step."""
        for factor in (2.0, 2.1):
            assert run(store, summed(rounded(scaled(factor).set_name("a")).set_name("b")).set_name("c")) == 6
        found, made = (store.run(one.id).steps["c"] for one in store.runs())
        assert (found.state, found.recipe == made.recipe) == ("reused", False)
        store.save("w", "c", "another value")
        assert made.recipe not in store.gc(**ALL)
        assert store.find_results("w", {"c": made.recipe}) == {"c"}

    def test_states_of_objects_and_results_with_files(self, store, root, tmp_path):
        """A run keeps them, though their names in the store are not those of the recipes of its steps."""
        written = (tmp_path / "text").write_text("text")
        counter = Counter()
        run(store, counter.add(), written_file(str(tmp_path / "text"), written))
        kept = results(root)
        assert any("-files" in name for name in kept)
        for name in store.list_tasks("w"):
            store.save("w", name, "another value")
        for name in store.list_tasks(objects_of("w")):
            store.save(objects_of("w"), name, "another value")
        assert store.gc(**ALL) == []
        assert results(root) == kept

    def test_a_run_collects_when_it_ends_at_most_once_an_hour(self, root):
        store = FileStore(root, durable=False, keep_runs=1)
        for factor in (1, 2):
            run(store, scaled(factor))
        oldest = min((root / ".results").glob("*.ffr"), key=lambda path: path.stat().st_mtime_ns)
        age(oldest, DAY + 60)
        run(store, scaled(2))
        assert oldest.exists()  # a run has collected within the hour
        (root / ".collected" / "last.ffr").unlink()
        run(store, scaled(2))
        assert not oldest.exists()

    def test_the_end_of_a_run_does_not_take_long(self, store, root, monkeypatch):
        monkeypatch.setattr("functionfuse.storage._store.collecting._BATCH", 1)
        monkeypatch.setattr("functionfuse.storage._store.store._SECONDS", -1.0)
        save(store, "a", 1, "d1")
        save(store, "a", 2, "d2")
        age(root / ".results" / "d1.ffr", 2 * DAY)
        assert store.collect() == []
        assert store.gc() == ["d1"]

    def test_stores_that_keep_all(self, root):
        store = FileStore(root, durable=False, keep_runs=None)
        run(store, scaled(1))
        assert not (root / ".collected").exists()

    def test_a_failure_to_collect_warns(self, store, root, monkeypatch):
        def fail(folder):
            raise StorageError("the disk is on fire")

        monkeypatch.setattr(store._transport, "uses", fail)
        with pytest.warns(UserWarning, match="cannot remove the results that it does not keep: the disk is on fire"):
            assert run(store, scaled(1)) == [1, 1, 1]

    def test_a_record_of_a_run_that_is_not_one(self, store):
        run(store, scaled(1))
        run(store, scaled(2))
        newest = store.runs("w")[0].id
        store.save(runs_of("w"), newest, b"not compressed", meta=store.info(runs_of("w"), newest)["meta"])
        kept = store.gc(**ALL)
        assert kept == []
        assert newest in kept.problem


class TestBesides:
    def test_a_reader_with_a_mapped_array(self, store):
        save(store, "a", np.arange(1_000_000), "d1")
        array = store.read_task("w", "a")
        save(store, "a", 2, "d2")
        assert store.gc(**ALL) == ["d1"]
        assert array.sum() == 499999500000

    @pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
    def test_a_writer_that_was_killed(self, store, root):
        program = (
            "import os, signal, sys\n"
            "from functionfuse.storage import FileStore\n"
            "store = FileStore(sys.argv[1])\n"
            "store.save('w', 'a', 1, recipe={'digest': 'd1'})\n"
            "os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
            "store.save('w', 'a', b'v' * 100_000, recipe={'digest': 'd2'})\n"
        )
        killed = subprocess.run([sys.executable, "-c", program, str(root)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(store.gc(**ALL)) >= 1  # the draft
        assert store.read_task("w", "a") == 1
        assert store.check_workflow("w") == []
        assert list((root / ".results" / ".tmp").iterdir()) == []

    @pytest.mark.filterwarnings("ignore:.*will be made again")
    def test_runs_that_begin_meanwhile(self, store):
        """They lose nothing that they have found, or make it again."""
        finished = threading.Event()
        removed = []

        def collect():
            while not finished.is_set():
                removed.extend(store.gc(**ALL))

        collector = threading.Thread(target=collect)
        collector.start()
        try:
            for number in range(60):
                assert run(store, summed(scaled(number % 3))) == 3 * (number % 3)
        finally:
            finished.set()
            collector.join()
        assert removed


PROGRAM = f"""
import random, sys
from {BACKEND} import LocalWorkflow
from functionfuse import workflow
from functionfuse.storage import FileStore

@workflow
def scaled(factor):
    return [factor] * 20_000

@workflow
def summed(values):
    return sum(values)

pick = random.Random(int(sys.argv[2]))
store = FileStore(sys.argv[1], durable=False)
print("ready", flush=True)
while True:
    factor = pick.randrange(4)
    local = LocalWorkflow(summed(scaled(factor).set_name("scaled")).set_name("summed"), workflow_name=sys.argv[3])
    local.set_storage(store)
    assert local.run() == factor * 20_000
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.chaos
def test_nothing_that_a_name_or_a_run_refers_to_is_lost(store, root, effort, tmp_path):
    """Runs toggle a parameter and are killed, while results are collected and read."""
    (tmp_path / "program.py").write_text(PROGRAM)
    finished, problems, removed = threading.Event(), [], []

    def collect():
        while not finished.is_set():
            try:
                removed.extend(store.gc(keep_runs=1, older_than=0, grace=60))
            except Exception as problem:
                problems.append(problem)

    def read():
        while not finished.is_set():
            for name in ("one", "two"):
                try:
                    values = store.read_task(name, "scaled")
                    assert values == values[:1] * 20_000
                except TaskNotFound:
                    pass  # not made yet
                except Exception as problem:
                    problems.append(problem)

    helpers = [threading.Thread(target=target) for target in (collect, read)]
    running = []
    kills = 0
    for helper in helpers:
        helper.start()
    try:
        for _ in effort.rounds(2):
            for name in ("one", "two"):
                seed = str(effort.pick.getrandbits(32))
                running.append(
                    subprocess.Popen(
                        [sys.executable, str(tmp_path / "program.py"), str(root), seed, name],
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    )
                )  # fmt: skip
            for driver in running:
                assert driver.stdout.readline() == b"ready\n", driver.stderr.read().decode()
            time.sleep(effort.pick.uniform(0.05, 0.5))
            while running:
                driver = running.pop()
                driver.kill()
                error = driver.communicate()[1].decode()
                assert driver.returncode == -signal.SIGKILL, error  # else it had failed before
                kills += 1
    finally:
        finished.set()
        for helper in helpers:
            helper.join()
        for driver in running:
            driver.kill()
            driver.communicate()
    assert problems == []
    for name in ("one", "two"):
        for task in store.list_tasks(name):
            store.read_task(name, task)
        assert store.check_workflow(name) == []
    print(f"{kills} kills, {len(removed)} removed")
