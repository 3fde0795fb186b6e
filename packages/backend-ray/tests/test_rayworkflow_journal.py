"""What durable workflows store, and who may run them."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import pytest

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow._controller import lease
from functionfuse.backends.addons.rayworkflow._records.journal import Journal, records_name, stored_ids
from functionfuse.backends.addons.rayworkflow._records.lease_records import epoch_key
from functionfuse.backends.addons.rayworkflow._records.retention import expire, keep_final
from functionfuse.backends.addons.rayworkflow._records.workflow import StoredWorkflow
from functionfuse.backends.addons.rayworkflow.common import WorkflowStatus
from functionfuse.errors import OptionError, StorageError, UnsupportedRecord
from functionfuse.storage import FileStore

SECONDS = 1.0  # seconds of a lease


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store", durable=False)


@pytest.fixture
def journal(store):
    return Journal(store, "w", "run")


@pytest.fixture
def own(store):
    """Makes owners, which live until the test ends."""
    with ExitStack() as ended:

        def own(actor, seconds=SECONDS):
            return ended.enter_context(closing(lease.LeaseOwner(store, actor, seconds)))

        yield own


def file_of(store, record):
    return Path(store.path, "durable=2Fw", record.replace("/", "=2F") + ".ffr")


def test_a_record_is_written_once(journal):
    assert [journal.put("out/a", "value", b"1"), journal.put("out/a", "value", b"2")] == [True, False]
    assert journal.get("out/a") == ("value", b"1")
    assert journal.put_or_get("out/a", "value", b"3") == ("value", b"1")


def test_what_is_missing_is_none(journal):
    assert (journal.get("out/a"), journal.meta("out/a"), journal.has("out/a")) == (None, None, False)


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"", lambda data: data[:9] + b"#" + data[10:]])
def test_a_damaged_record_counts_as_missing_and_is_written_again(journal, store, damage):
    journal.put("out/a", "value", b"1" * 100)
    path = file_of(store, "run/out/a")
    path.write_bytes(damage(path.read_bytes()))
    assert journal.get("out/a") is None
    assert journal.put("out/a", "value", b"2")
    assert journal.get("out/a") == ("value", b"2")


def test_names_are_those_of_a_folder_and_a_run(journal, store):
    for name in ("out/b", "out/a", "obj/c"):
        journal.put(name, "value")
    Journal(store, "w", "other").put("out/d", "value")
    assert journal.names("out") == ["a", "b"]


def test_meta_is_kept_beside_the_record(journal):
    journal.put("out/a", "value", b"1", start_time=1.5)
    assert journal.meta("out/a") == {"start_time": 1.5}


def test_workflows_are_found_by_their_ids_and_removed(journal, store):
    journal.put("out/a", "value")
    store.save("plain", "a", 1)
    assert stored_ids(store) == ["w"]
    assert (journal.remove(), journal.remove()) == (True, False)
    assert stored_ids(store) == []


def test_an_id_is_a_text_that_is_not_empty():
    with pytest.raises(TypeError, match="has to be a string"):
        records_name(1)
    with pytest.raises(OptionError, match="must not be empty"):
        records_name("")


def test_a_newer_format_is_refused(store):
    Journal(store, "w").put("spec", "spec", 2, "run", b"", {})
    with pytest.raises(UnsupportedRecord, match="'w' has format 2; this release reads 1"):
        StoredWorkflow.find(store, "w")


class Flaky(FileStore):
    """Fails some times, at whatever it is asked."""

    failures = 2

    def has_tasks(self, *args):
        if self.failures:
            self.failures -= 1
            raise StorageError("cannot be reached")
        return super().has_tasks(*args)


def test_a_store_that_fails_for_a_moment_is_asked_again(tmp_path):
    store = Flaky(tmp_path / "store", durable=False)
    Journal(store, "w", "run").put("out/a", "value")
    assert Journal(store, "w", "run").get("out/a") == ("value",)
    assert store.failures == 0


# -- what is kept


def ended(store, workflow_id, end_time, *, objects=()):
    """A workflow with an output and another result, that ended then."""
    Journal(store, workflow_id).put("spec", "spec", 1, "run", b"", {})
    journal = Journal(store, workflow_id, "run")
    for name in ("fn/f", "out/a", "wait/a", "obj/o", "lease/00000001"):
        journal.put(name, "value", b"", [])
    journal.put("out/b", "value", b"", list(objects))
    if end_time is not None:
        journal.put("end/00000001", "end", "SUCCESSFUL", "b", b"", "", end_time=end_time)
    return journal


@pytest.mark.parametrize("objects", [(), ("o",)])
def test_of_a_workflow_that_ended_its_output_is_kept(store, objects):
    keep_final(ended(store, "w", 0.0, objects=objects), "b")
    kept = {"spec", "run/lease/00000001", "run/end/00000001", "run/out/b", *(f"run/obj/{name}" for name in objects)}
    assert set(store.list_tasks("durable/w")) == kept


def test_workflows_are_removed_some_time_after_they_ended(store):
    ended(store, "old", time.time() - 100)
    ended(store, "new", time.time() - 10)
    ended(store, "running", None)
    ended(store, "resumed", time.time() - 100)
    expire(store, 50, {"resumed"})
    assert stored_ids(store) == ["new", "resumed", "running"]


@pytest.mark.parametrize("wanted", ["some", 0, -1, True, []])
def test_what_is_no_retention_is_refused(wanted):
    with pytest.raises(ValueError, match="retention must be 'all', 'final' or a number of seconds, not "):
        workflow.init(retention=wanted)


# -- leases


def test_one_owner_at_a_time(journal, own):
    first, second = own("a"), own("b")
    assert lease.acquire(journal, first) == 1
    assert lease.acquire(journal, second) is None
    assert lease.is_held(journal, first, 1)


def test_a_lease_that_ended_is_free(journal, own):
    first, second = own("a"), own("b")
    epoch = lease.acquire(journal, first)
    journal.put(f"end/{epoch_key(epoch)}", "end", "FAILED", "", b"", "")
    assert lease.acquire(journal, second) == 2
    assert not lease.is_held(journal, first, 1)


def test_a_later_process_of_the_same_actor_takes_over_at_once(journal, own):
    assert lease.acquire(journal, own("a", 1000)) == 1
    assert lease.acquire(journal, own("a", 1000)) == 2


def test_the_lease_of_a_dead_process_of_this_machine_is_free_at_once(journal, store, own):
    program = (
        "import sys\n"
        "from functionfuse.storage import FileStore\n"
        "from functionfuse.backends.addons.rayworkflow._controller import lease\n"
        "from functionfuse.backends.addons.rayworkflow._records.journal import Journal\n"
        "store = FileStore(sys.argv[1], durable=False)\n"
        "print(lease.acquire(Journal(store, 'w', 'run'), lease.LeaseOwner(store, 'elsewhere', 1000)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, store.path], capture_output=True, text=True, check=True)
    assert ended.stdout == "1\n"
    assert lease.acquire(journal, own("here", 1000)) == 2


def test_an_owner_elsewhere_without_heartbeats_loses_its_lease(journal, store, own):
    far = "far|another machine|1:1|x"
    journal.put("lease/00000001", "lease", far, None)
    store.save(lease.OWNERS, far, 1)
    assert lease.acquire(journal, own("here")) == 2


class HeartbeatStore(FileStore):
    """A store in which each read of a heartbeat finds the next one."""

    heartbeats = count()

    def read_task(self, workflow_name, task_name):
        found = super().read_task(workflow_name, task_name)
        return next(self.heartbeats) if workflow_name == lease.OWNERS else found


def test_an_owner_elsewhere_that_sends_heartbeats_keeps_its_lease(journal, store, tmp_path):
    far = "far|another machine|1:1|x"
    journal.put("lease/00000001", "lease", far, None)
    store.save(lease.OWNERS, far, 1)
    with closing(lease.LeaseOwner(HeartbeatStore(tmp_path / "store", durable=False), "here", SECONDS)) as owner:
        assert lease.acquire(journal, owner) is None


def test_a_lease_is_as_long_as_its_owner_says(journal, own):
    """Who has a shorter one waits for a heartbeat of the owner nevertheless."""
    owner, hasty = own("a", 2.0), own("b", 0.05)
    assert lease.acquire(journal, owner) == 1
    assert lease.acquire(journal, hasty) is None
    assert hasty.is_alive(owner.name)
    owner.close()
    assert lease.acquire(journal, hasty) == 2


def test_the_end_of_an_older_epoch_is_not_read(journal, store, own):
    Journal(store, "w").put("spec", "spec", 1, "run", b"", {})
    stale, owner, reader = own("a"), own("a"), own("b")
    lease.acquire(journal, stale)
    lease.acquire(journal, owner)
    journal.put("end/00000001", "end", "SUCCESSFUL", "out", b"", "")
    stored = StoredWorkflow.find(store, "w")
    assert stored.status(reader) is WorkflowStatus.RUNNING
    assert stored.status(owner) is WorkflowStatus.RESUMABLE
