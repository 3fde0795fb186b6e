"""Checking what is stored, and collecting what nothing refers to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid

import pytest

from functionfuse.errors import OptionError

DAY = 86400


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def draft(store, files):
    """Makes a file as a writer leaves it."""
    store.new_workflow("w")

    def make(pid, *, host=None, old=0.0):
        name = f"{uuid.uuid4().hex}-{host or socket.gethostname()}-{pid}"
        path = files.root / "w" / ".tmp" / name
        path.write_bytes(b"half a result")
        age(path, old)
        return name

    return make


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def orphan(store, files):
    """Makes a blob that no record refers to."""
    store.new_workflow("w")

    def make(*, old=0.0):
        folder = files.root / "w" / ".big"
        folder.mkdir(exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.bin"
        path.write_bytes(b"data")
        age(path, old)
        return path.name

    return make


class TestCheck:
    def test_sound_results_are_not_mentioned(self, blob_store, blobby):
        blob_store.save("w", "a", 1)
        blob_store.save("w", "x" * 300, blobby(b"data"))
        assert blob_store.check_workflow("w") == []

    def test_damage_is_reported_by_name(self, blob_store, blobby, files):
        for name in ("content", "footer", "a/b", "sound"):
            blob_store.save("w", name, b"v" * 1000)
        for stem, at in (("content", 100), ("footer", -100), ("a=2Fb", 200)):
            record = files.record("w", stem)
            data = bytearray(record.read_bytes())
            data[at] ^= 1
            record.write_bytes(data)
        problems = dict(blob_store.check_workflow("w"))
        assert sorted(problems) == ["a/b", "content", "footer"]
        assert "checksum mismatch in segment 0 at byte 16" in problems["content"]
        assert "footer or trailer damaged" in problems["footer"]
        assert list(dict(blob_store.check_workflow("w", "c*"))) == ["content"]

    def test_blobs_that_are_missing_or_shorter(self, blob_store, blobby, files):
        for name in ("gone", "short"):
            blob = blob_store.save("w", name, blobby(b"data"))["blobs"][0]["id"]
            path = files.root / "w" / ".big" / blob
            path.unlink() if name == "gone" else path.write_bytes(b"da")
        problems = dict(blob_store.check_workflow("w"))
        assert "missing" in problems["gone"]
        assert "has 2 bytes, 4 were written" in problems["short"]

    def test_a_long_name_that_cannot_be_read_goes_by_its_file(self, store, files):
        store.save("w", "x" * 300, 1)
        (record,) = (files.root / "w").glob("*.ffr")
        record.write_bytes(b"")
        assert store.check_workflow("w") == [(record.stem, "its footer cannot be read")]

    def test_nothing_is_unpickled(self, store):
        class Explosive:
            def __reduce__(self):
                return os._exit, (1,)

        store.save("w", "a", Explosive())
        assert store.check_workflow("w") == []
        assert store.list_tasks("w") == ["a"]


class TestBlobs:
    def test_old_unreferenced_blobs_go(self, blob_store, blobby, orphan, files):
        kept = blob_store.save("w", "a", blobby(b"data"))["blobs"][0]["id"]
        age(files.root / "w" / ".big" / kept, 2 * DAY)
        young, old = orphan(old=DAY - 60), orphan(old=DAY + 60)
        assert blob_store.gc("w") == [old]
        assert files.blobs("w") == sorted([kept, young])
        assert blob_store.gc("w", grace=3600) == [young]
        assert blob_store.read_task("w", "a").content == b"data"

    def test_one_record_that_cannot_be_read_keeps_all_blobs(self, store, orphan, files):
        store.save("w", "a", 1)
        files.record("w", "a").write_bytes(b"damage")
        blob = orphan(old=2 * DAY)
        assert store.gc("w", grace=0) == []
        assert files.blobs("w") == [blob]
        store.remove_task("w", "a")
        assert store.gc("w", grace=0) == [blob]

    def test_an_unsigned_record_still_refers_to_its_blobs(self, blob_store, blobby, root, monkeypatch, files):
        monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
        blob_store.save("w", "a", blobby(b"data"))
        signed = type(blob_store)(root, sign_key="env:FF_TEST_KEY")
        assert signed.gc("w", grace=0) == []
        assert len(files.blobs("w")) == 1

    def test_a_save_is_safe_from_gc_at_any_moment(self, blob_store, blobby, blobby_serializer, monkeypatch):
        collected = []

        class Collecting(type(blobby_serializer)):
            def save(self, obj, out):
                blob = super().save(obj, out)
                collected.extend(blob_store.gc("w", grace=0))
                return blob

        def collecting(real):
            def call(*names):
                collected.extend(blob_store.gc("w", grace=0))
                real(*names)
                collected.extend(blob_store.gc("w", grace=0))

            return call

        monkeypatch.setattr(os, "replace", collecting(os.replace))
        monkeypatch.setattr(os, "link", collecting(os.link))
        blob_store.register_persistent_serializers(Collecting())
        for create in (False, True):
            blob_store.save("w", f"{create}", blobby(b"data"), create=create)
            assert blob_store.read_task("w", f"{create}").content == b"data"
        assert collected == []

    def test_gc_beside_a_writer(self, blob_store, blobby):
        finished = threading.Event()
        problems = []

        def collect():
            while not finished.is_set():
                blob_store.gc("w", grace=0)
                problems.extend(blob_store.check_workflow("w"))

        blob_store.save("w", "a", blobby(b"first"))
        collector = threading.Thread(target=collect)
        collector.start()
        try:
            for number in range(150):
                name = f"{number % 3}"
                blob_store.save("w", name, blobby(b"%d" % number))
                assert blob_store.read_task("w", name).content == b"%d" % number
        finally:
            finished.set()
            collector.join()
        assert problems == []
        assert blob_store.check_workflow("w") == []


class TestDrafts:
    def test_drafts_of_dead_processes_go(self, store, draft, dead_pid, files):
        dead, just_dead = draft(dead_pid, old=120), draft(dead_pid)
        assert store.gc("w") == [dead]
        assert files.drafts("w") == [just_dead]
        assert store.gc("w", grace=0) == [just_dead]

    def test_drafts_of_live_processes_stay_a_day(self, store, draft):
        alive, ancient = draft(os.getpid(), old=DAY - 60), draft(os.getpid(), old=DAY + 60)
        assert store.gc("w", grace=0) == [ancient]
        assert store.gc("w", grace=2 * DAY) == []
        assert alive != ancient

    def test_drafts_of_other_hosts_stay_for_the_grace(self, store, draft):
        young, old = draft(1, host="other-host", old=10), draft(1, host="other-host", old=DAY + 60)
        assert store.gc("w") == [old]
        assert store.gc("w", grace=5) == [young]

    def test_other_files_among_the_drafts(self, store, files, draft):
        draft("no pid", old=DAY + 60)
        strange = files.root / "w" / ".tmp" / "strange"
        strange.write_bytes(b"")
        age(strange, 2 * DAY)
        assert len(store.gc("w")) == 2

    def test_a_removal_that_was_cut_short_is_finished(self, store, files):
        store.save("w", "a", 1)
        store.save("v", "a", 1)
        trash = files.root / ".trash"
        trash.mkdir()
        (files.root / "v").rename(trash / uuid.uuid4().hex)
        assert store.list_workflows() == ["w"]
        store.gc("w")
        assert not trash.exists()


def test_a_negative_grace_is_refused(store):
    with pytest.raises(OptionError, match="grace"):
        store.gc("w", grace=-1)
