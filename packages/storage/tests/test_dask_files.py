"""Dask arrays in files: plain HDF5, mapped, and checked chunk by chunk."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from functionfuse.errors import CorruptRecord
from functionfuse.serializers.daskarray import DaskArraySerializer
from functionfuse.storage import FileStore
from functionfuse.storage._record.checksum import crc32

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")


@pytest.fixture
def store(root):
    made = FileStore(root, durable=False)
    made.register_persistent_serializers(DaskArraySerializer)
    return made


def blob_path(files):
    [name] = files.blobs("w")
    return files.root / "w" / ".big" / name


def same(first, second):
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert np.ascontiguousarray(first).tobytes() == np.ascontiguousarray(second).tobytes()


def test_loading_reads_no_chunk(store, saved, files):
    path = blob_path(files)
    path.write_bytes(bytes(path.stat().st_size))  # all that could be read is wrong
    loaded = store.read_task("w", "a")
    assert loaded.shape == saved.shape
    assert loaded.T[5:].sum(axis=0).shape == (25,)
    with pytest.raises(CorruptRecord):
        loaded.compute()


def test_chunks_are_read_on_demand(store, saved, monkeypatch):
    from functionfuse.storage._file.blob_file import BlobFile

    lengths = []
    read = BlobFile.read
    monkeypatch.setattr(BlobFile, "read", lambda self, *span: lengths.append(span[1]) or read(self, *span))
    loaded = store.read_task("w", "a")
    assert lengths == []
    same(loaded[12:18, 3].compute(), saved[12:18, 3])
    assert lengths == [10 * 16 * 8]  # one chunk


def test_large_chunks_are_mapped_and_checked_like_small_ones(store, files):
    array = np.arange(100_000.0).reshape(100, 1000)
    store.save("w", "a", da.from_array(array, chunks=(30, 700)))
    loaded = store.read_task("w", "a")
    same(loaded.compute(), array)
    with blob_path(files).open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"damage")
    # In this thread: after an error, other threads go on reading, and none may while a mapped file is truncated.
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(CorruptRecord, match="damaged"):
            loaded.compute()
        os.truncate(blob_path(files), 20_000)
        with pytest.raises(CorruptRecord, match="truncated"):
            loaded.compute()
        os.truncate(blob_path(files), 0)
        with pytest.raises(CorruptRecord, match="truncated"):
            store.read_task("w", "a").compute()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
@pytest.mark.parametrize("options", [{"mmap": False}, {"sign_key": "env:FF_TEST_KEY"}])
def test_a_store_that_maps_nothing_copies_chunks(root, files, options, monkeypatch):
    monkeypatch.setenv("FF_TEST_KEY", "k" * 32)
    array = np.arange(100_000.0).reshape(100, 1000)
    store = FileStore(root, durable=False, **options)
    store.save("w", "a", da.from_array(array, chunks=(30, 700)))
    loaded = pickle.loads(pickle.dumps(store.read_task("w", "a")))  # wherever it is sent
    same(loaded.compute(), array)
    assert str(blob_path(files)) not in mapped_files()
    mapped = FileStore(root).read_task("w", "a")
    same(mapped.compute(), array)
    assert str(blob_path(files)) in mapped_files()


def mapped_files():
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.endswith(".h5")}


def test_the_file_is_plain_hdf5(store, saved, files):
    with h5py.File(blob_path(files), "r") as file:
        assert file["data"].chunks == (10, 16)
        same(file["data"][...], saved)


def test_datetimes_are_datetimes_for_h5py(store, files):
    array = np.arange(20).astype("M8[s]")
    store.save("w", "a", da.from_array(array, chunks=7))
    with h5py.File(blob_path(files), "r") as file:
        same(file["data"][...], array)


def test_a_flipped_byte_in_any_chunk_is_found(store, saved, files):
    path, loaded = blob_path(files), store.read_task("w", "a")
    sound = path.read_bytes()
    with h5py.File(path, "r") as file:
        places = []
        file["data"].id.chunk_iter(lambda place: places.append((place.byte_offset, place.size)))
    assert len(places) == 9
    for offset, size in places:
        for at in (offset, offset + size // 2, offset + size - 1):
            damaged = bytearray(sound)
            damaged[at] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(CorruptRecord, match="damaged"):
                loaded.compute()
    path.write_bytes(sound)
    same(loaded.compute(), saved)


@pytest.mark.parametrize("size", [0, 1, 1000, 100_003])
def test_the_checksum_is_that_of_zlib(size):
    data = np.random.default_rng(0).bytes(size)
    assert crc32(data) == zlib.crc32(data)
    assert crc32(data[size // 2 :], crc32(data[: size // 2])) == zlib.crc32(data)


def test_arrays_are_checked_alike_where_zlib_ng_is_not_installed(store, saved, files):
    code = """
import sys
sys.modules["zlib_ng"] = None
from functionfuse.storage import FileStore
print(FileStore(sys.argv[1]).read_task("w", "a").sum().compute())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(files.root)], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) == saved.sum()


def test_a_truncated_file_is_found(store, saved, files):
    path = blob_path(files)
    loaded = store.read_task("w", "a")
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(CorruptRecord, match=r"damaged|truncated"):
        loaded.compute()
    assert [name for name, _ in store.check_workflow("w")] == ["a"]


def test_a_missing_file(store, saved, files):
    blob_path(files).unlink()
    with pytest.raises(CorruptRecord, match="missing"):
        store.read_task("w", "a")


def test_a_loaded_array_survives_its_removal(store, saved, files):
    loaded = store.read_task("w", "a")
    store.save("w", "a", loaded + 1)  # reads what it replaces
    assert len(files.blobs("w")) == 1
    same(store.read_task("w", "a").compute(), saved + 1)
    same(loaded.compute(), saved)
    store.remove_task("w", "a")
    assert files.blobs("w") == []


def test_files_are_closed_with_their_arrays(store, saved, files):
    from functionfuse.storage._file import blob_file

    key = (str(blob_path(files)), True)
    loaded = [store.read_task("w", "a"), store.read_task("w", "a")]
    assert key in blob_file._open_files
    loaded.clear()
    gc.collect()
    assert key not in blob_file._open_files


def test_beyond_some_arrays_files_are_opened_when_read(store, saved, files, monkeypatch):
    from functionfuse.storage._file import blob_file

    monkeypatch.setattr(blob_file, "MOST_OPEN", 0)
    loaded = store.read_task("w", "a")
    gc.collect()
    assert (str(blob_path(files)), True) not in blob_file._open_files
    same(loaded.compute(), saved)
    store.remove_task("w", "a")
    with pytest.raises(CorruptRecord, match="read the result again"):
        loaded.compute()


def test_gc_leaves_what_a_result_needs(store, saved, files):
    orphan = blob_path(files).with_name(f"{'0' * 32}.h5")
    orphan.write_bytes(b"left by a killed writer")
    assert store.gc("w", grace=0) == [orphan.name]
    same(store.read_task("w", "a").compute(), saved)


FULL_DISK = """
import resource, signal, sys
import dask.array as da
from functionfuse.errors import StorageError
from functionfuse.serializers.daskarray import DaskArraySerializer
from functionfuse.storage import FileStore

store = FileStore(sys.argv[1])
store.register_persistent_serializers(DaskArraySerializer)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    store.save("w", "a", da.ones((400, 500), chunks=(100, 100)))
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system has no limit for files")
@pytest.mark.parametrize("room", [0, 100, 1500, 5000, 50_000, 200_000, 1_000_000])
def test_a_full_disk_leaves_the_old_value_and_no_residue(store, saved, files, room):
    # A limit for files is what a disk that fills up is to whoever writes: HDF5, or a task.
    before = files.all()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(files.root), str(room)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot" in done.stdout
    assert files.all() == before
    same(store.read_task("w", "a").compute(), saved)


def test_a_durable_store_syncs_the_file(root, monkeypatch, files):
    synced = set()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino) or fsync(fd))
    store = FileStore(root)
    store.register_persistent_serializers(DaskArraySerializer)
    store.save("w", "a", da.ones(10, chunks=5))
    assert blob_path(files).stat().st_ino in synced
