"""A save that fails leaves what was there, and nothing else."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import threading

import pytest

from functionfuse.errors import CorruptRecord, LostRace, StorageError
from functionfuse.storage import FileStore

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Calling:
    """An object that does something while it is pickled."""

    def __init__(self, action):
        self.action = action

    def __reduce__(self):
        self.action()
        return str, ("called",)


@pytest.fixture
def old(store, files):
    """The files while only an old result is stored."""
    store.save("w", "a", "old")
    return files.all()


def fail_after(real, calls, error):
    count = 0

    def failing(*arguments, **options):
        nonlocal count
        count += 1
        if count > calls:
            raise error
        return real(*arguments, **options)

    return failing


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_disk_that_is_full_in_the_pickle(store, files, old, monkeypatch, calls):
    monkeypatch.setattr(os, "write", fail_after(os.write, calls, FULL))
    with pytest.raises(StorageError, match=f"cannot write .*{FULL.strerror}") as caught:
        store.save("w", "a", [b"x" * 300_000] * 3 + [b"y" * 300_000, b"z" * 300_000])
    assert caught.value.__cause__ is FULL
    assert files.all() == old
    assert store.read_task("w", "a") == "old"


def test_a_disk_that_is_full_in_a_buffer(store, files, old, monkeypatch):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    monkeypatch.setattr(os, "pwrite", fail_after(os.pwrite, 2, FULL))
    monkeypatch.setattr("functionfuse.storage._file.sink.THREADS", 2)
    with pytest.raises(StorageError, match=FULL.strerror):
        store.save("w", "a", np.zeros(5_000_000))
    assert files.all() == old
    assert store.read_task("w", "a") == "old"


def test_a_disk_that_is_full_at_the_footer(store, files, old, monkeypatch):
    monkeypatch.setattr(os, "write", fail_after(os.write, 0, FULL))
    with pytest.raises(StorageError, match=FULL.strerror):
        store.save("w", "a", "new")
    assert files.all() == old


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_is_not_tried_again(root, files, monkeypatch, number):
    store = FileStore(root, durable=True)
    store.save("w", "a", "old")
    old = files.all()
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageError, match=f"cannot sync .*{os.strerror(number)}"):
            store.save("w", "a", "new")
    assert len(calls) == 1
    assert files.all() == old
    assert store.read_task("w", "a") == "old"


def test_a_rename_that_fails(store, files, old, monkeypatch):
    monkeypatch.setattr(os, "replace", fail_after(os.replace, 0, OSError(errno.EACCES, "refused")))
    with pytest.raises(StorageError, match=r"cannot write .*refused"):
        store.save("w", "a", "new")
    assert files.all() == old


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits on the size of files")
def test_the_kernel_refuses_larger_files(root, store, files, old):
    script = (
        "import resource, sys\n"
        "from functionfuse.errors import StorageError\n"
        "from functionfuse.storage import FileStore\n"
        "store = FileStore(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try: store.save('w', 'a', [b'x' * 400_000 + bytes([n]) for n in range(5)])\n"
        "except StorageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(root)], check=True, capture_output=True, text=True)
    assert os.strerror(errno.EFBIG) in done.stdout
    assert files.all() == old
    assert store.read_task("w", "a") == "old"


def test_writes_that_the_kernel_takes_in_pieces(store, monkeypatch):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:70_000]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3_000_000], at))
    monkeypatch.setattr("functionfuse.storage._file.sink.THREADS", 2)
    value = np.arange(5_000_000.0)
    store.save("w", "a", [value, b"x" * 300_000, np.arange(50_000)])
    loaded = store.read_task("w", "a")
    assert np.array_equal(loaded[0], value)
    assert (loaded[1], loaded[2].sum()) == (b"x" * 300_000, 49_999 * 25_000)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("make", [threading.Lock, lambda: nested(100_000)], ids=["a lock", "100,000 deep"])
def test_what_cannot_be_pickled_leaves_nothing(blob_store, blobby, files, old, make):
    with pytest.raises((TypeError, RecursionError, pickle.PicklingError)) as caught:
        blob_store.save("w", "a", [b"x" * 300_000, blobby(b"data"), make()])
    assert caught.value.__notes__ == ["while pickling result 'a' of workflow 'w'"]
    assert files.all() == old
    assert blob_store.read_task("w", "a") == "old"


def test_an_interrupt_leaves_nothing(store, files, old):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save("w", "a", [b"x" * 300_000, Calling(interrupt)])
    assert files.all() == old


@pytest.mark.parametrize("verb", ["replace", "link"])
def test_an_interrupt_right_after_the_visible_step(blob_store, blobby, files, monkeypatch, verb):
    real = getattr(os, verb)

    def interrupted(*names):
        real(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, verb, interrupted)
    with pytest.raises(KeyboardInterrupt):
        blob_store.save("w", "a", blobby(b"data"), create=verb == "link")
    assert blob_store.read_task("w", "a").content == b"data"
    assert files.drafts("w") == []


@pytest.mark.parametrize("size", [200_000, 40_000_000])
def test_an_array_that_changes_while_it_is_saved_is_noticed(store, monkeypatch, size):
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    array = np.zeros(size, "u1")
    monkeypatch.setattr("functionfuse.storage._file.sink.THREADS", 2)

    def changing(real):
        def write(descriptor, data, *more):
            array[-1] += 1
            return real(descriptor, data, *more)

        return write

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", changing(os.write))
        patch.setattr(os, "pwrite", changing(os.pwrite))
        store.save("w", "a", array)
    with pytest.raises(CorruptRecord, match="checksum mismatch in segment 1"):
        store.read_task("w", "a")


class TestRemovalDuringASave:
    @pytest.mark.parametrize("durable", [True, False])
    def test_while_pickling(self, root, files, durable):
        store = FileStore(root, durable=durable)
        store.save("w", "b", 1)
        with pytest.raises(StorageError, match="workflow removed while saving"):
            store.save("w", "a", Calling(lambda: store.remove_workflow("w")))
        assert files.all() == ["ffstore.json"]

    def test_before_a_blob_is_made(self, blob_store, blobby, files):
        with pytest.raises(StorageError, match="workflow removed while saving"):
            blob_store.save("w", "a", [Calling(lambda: blob_store.remove_workflow("w")), blobby(b"data")])
        assert files.all() == ["ffstore.json"]
        assert blob_store.list_workflows() == []

    def test_after_a_blob_is_made(self, blob_store, blobby, files):
        with pytest.raises(StorageError, match="workflow removed while saving"):
            blob_store.save("w", "a", [blobby(b"data"), Calling(lambda: blob_store.remove_workflow("w"))])
        assert files.all() == ["ffstore.json"]

    def test_and_started_again(self, store, files):
        def restart():
            store.remove_workflow("w")
            store.new_workflow("w")

        with pytest.raises(StorageError, match="removed while saving"):
            store.save("w", "a", Calling(restart))
        assert store.list_tasks("w") == []
        store.save("w", "a", 1)
        assert store.read_task("w", "a") == 1

    @pytest.mark.parametrize("verb", ["replace", "link"])
    def test_before_the_rename(self, store, files, monkeypatch, verb):
        real = getattr(os, verb)

        def overtaken(*names):
            store.remove_workflow("w")
            return real(*names)

        monkeypatch.setattr(os, verb, overtaken)
        with pytest.raises(StorageError, match="workflow removed while saving"):
            store.save("w", "a", 1, create=verb == "link")
        assert files.all() == ["ffstore.json"]

    def test_after_the_rename(self, root, files, monkeypatch):
        store = FileStore(root, durable=True)
        store.new_workflow("w")
        real = os.replace

        def overtaken(*names):
            real(*names)
            store.remove_workflow("w")

        monkeypatch.setattr(os, "replace", overtaken)
        with pytest.raises(StorageError, match="workflow removed while saving"):
            store.save("w", "a", 1)
        assert files.all() == ["ffstore.json"]


class TestCreate:
    def test_a_retry_of_the_winner_is_no_lost_race(self, store):
        first = store.save("w", "a", "value", create=True, uid="mine")
        assert store.save("w", "a", "again", create=True, uid="mine") == first
        assert store.read_task("w", "a") == "value"
        with pytest.raises(LostRace):
            store.save("w", "a", "again", create=True, uid="yours")

    def test_two_attempts_of_one_writer_at_the_same_time(self, store):
        def other_attempt():
            store.save("w", "a", "value", create=True, uid="mine")

        info = store.save("w", "a", Calling(other_attempt), create=True, uid="mine")
        assert info == store.info("w", "a")
        assert store.read_task("w", "a") == "value"

    def test_a_race_that_is_lost_at_the_last_moment(self, store, files):
        with pytest.raises(LostRace, match="'a' of workflow 'w' was stored by another writer"):
            store.save("w", "a", Calling(lambda: store.save("w", "a", "winner")), create=True)
        assert store.read_task("w", "a") == "winner"
        assert files.drafts("w") == []

    def test_without_hard_links(self, store, monkeypatch, files):
        monkeypatch.setattr(os, "link", fail_after(os.link, 0, OSError(errno.EPERM, "no links here")))
        store.save("w", "a", 1, create=True)
        with pytest.raises(LostRace):
            store.save("w", "a", 2, create=True)
        with pytest.raises(LostRace):
            store.save("w", "b", Calling(lambda: store.save("w", "b", "winner")), create=True)
        assert [store.read_task("w", name) for name in "ab"] == [1, "winner"]
        assert files.drafts("w") == []

    def test_damage_that_keeps_coming_back(self, store, files, monkeypatch):
        def damaged(source, target):
            files.record("w", "a").write_bytes(b"damage")
            raise FileExistsError(errno.EEXIST, "exists", target)

        monkeypatch.setattr(os, "link", damaged)
        with pytest.raises(StorageError, match="other writers keep replacing it"):
            store.save("w", "a", 1, create=True)
        assert files.drafts("w") == []


def test_a_file_of_another_task_is_not_overwritten(store, files):
    store.save("w", "a", "data of a")
    files.record("w", "a").rename(files.record("w", "b"))
    with pytest.raises(StorageError, match=r"b\.ffr' holds 'a', not 'b'"):
        store.save("w", "b", 1)
    files.record("w", "b").rename(files.record("w", "a"))
    assert store.read_task("w", "a") == "data of a"


def test_a_draft_that_is_swept_while_it_is_written(store, files):
    def sweep():
        for name in files.drafts("w"):
            (files.root / "w" / ".tmp" / name).unlink()

    with pytest.raises(StorageError, match="was removed while saving"):
        store.save("w", "a", Calling(sweep))
    assert store.list_tasks("w") == []


def test_two_writers_create_in_the_place_of_damage(store, files):
    """The second one sees the first one's record when its turn comes, and does not take that for the damage."""
    store.save("w", "a", "old")
    files.record("w", "a").write_bytes(b"damaged")
    judging, other_is_done = threading.Event(), threading.Event()
    other = FileStore(store.path, durable=False)
    judge, judged = other._records.replaced_by, []

    def slowly(*asked):
        found = judge(*asked)
        judged.append(found)
        if len(judged) == 2:  # now for the visible step
            judging.set()
            other_is_done.wait(1)  # the other one waits for its turn meanwhile
        return found

    other._records.replaced_by = slowly
    outcomes = []

    def create(through, value):
        try:
            through.save("w", "a", value, create=True)
            outcomes.append(value)
        except LostRace:
            outcomes.append(None)

    slow = threading.Thread(target=create, args=(other, "slow"))
    slow.start()
    assert judging.wait(30)
    create(store, "fast")
    other_is_done.set()
    slow.join(30)
    [winner] = [value for value in outcomes if value]
    assert store.read_task("w", "a") == winner
