"""Dask arrays in a file store: exact, lazy, checked, and gone with their result."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from functionfuse.errors import CorruptRecord, MissingSerializer, StorageError
from functionfuse.serializers.daskarray import DaskArraySerializer, HDFSerializer
from functionfuse.storage import FileStore

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")

RECORD = np.dtype([("when", "M8[s]"), ("text", "U3"), ("x", ">f8", (2,))])


@pytest.fixture
def store(root):
    made = FileStore(root, durable=False)
    made.register_persistent_serializers(DaskArraySerializer)
    return made


@pytest.fixture
def saved(store):
    array = np.arange(1000.0).reshape(25, 40)
    store.save("w", "a", da.from_array(array, chunks=(10, 16)))
    return array


def blob_path(files):
    [name] = files.blobs("w")
    return files.root / "w" / ".big" / name


def numbers(dtype, size=60):
    if dtype == RECORD:
        made = np.zeros(size, RECORD)
        made["when"], made["text"], made["x"][:, 0] = np.arange(size), "a\N{SNOWMAN}", np.arange(size)
        return made
    return np.arange(size).astype(dtype)


def same(first, second):
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert np.ascontiguousarray(first).tobytes() == np.ascontiguousarray(second).tobytes()


@pytest.mark.parametrize(
    "dtype",
    ["?", "i1", "u8", "f2", "f4", "f8", "g", "c8", "c16", ">i4", ">f8", ">c16", "M8[ns]", "m8[D]", ">M8[s]", "U5",
     ">U2", "S3", "V4", RECORD],
    ids=str,
)  # fmt: skip
def test_every_dtype_comes_back_bit_by_bit(store, files, dtype):
    array = np.arange(60, dtype="u4").view("V4") if dtype == "V4" else numbers(np.dtype(dtype))
    store.save("w", "a", da.from_array(array.reshape(6, 10), chunks=(4, 3)))
    loaded = store.read_task("w", "a")
    assert loaded.chunks == ((4, 2), (3, 3, 3, 1))
    same(loaded.compute(), array.reshape(6, 10))
    assert len(files.blobs("w")) == 1


@pytest.mark.parametrize(
    "chunks", [((1, 5, 1, 3), (4, 6)), ((10,), (1,) * 10), ((2, 8), (9, 1)), ((3, 3, 3, 1), (10,)), ((0, 10), (10, 0))]
)
def test_chunks_of_any_sizes_come_back(store, chunks):
    array = np.arange(100).reshape(10, 10)
    store.save("w", "a", da.from_array(array, chunks=chunks))
    loaded = store.read_task("w", "a")
    assert loaded.chunks == chunks
    same(loaded.compute(), array)


def test_sizes_that_dask_does_not_know(store):
    array = np.arange(100)
    unknown = da.from_array(array, chunks=30)
    unknown = unknown[unknown % 3 == 0]
    store.save("w", "a", unknown)
    same(store.read_task("w", "a").compute(), array[array % 3 == 0])
    assert np.isnan(unknown.shape[0])  # what was saved is not changed by it


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_nothing_and_single_values_stay_in_the_record(store, files, shape):
    array = np.full(shape, 7.5)
    store.save("w", "a", da.from_array(array, chunks=shape or -1))
    loaded = store.read_task("w", "a")
    assert isinstance(loaded, da.Array)
    same(np.asarray(loaded.compute()), array)
    assert files.blobs("w") == []


def test_objects_and_masks_stay_what_they_are(store, files):
    objects = np.array(["a", None, 3], dtype=object)
    masked = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
    store.save("w", "a", [da.from_array(objects, chunks=2), da.from_array(masked, chunks=2)])
    first, second = store.read_task("w", "a")
    assert first.compute().tolist() == ["a", None, 3]
    assert second.compute().tolist() == [1, None, 3]
    assert (first.chunks, second.chunks) == (((2, 1),), ((2, 1),))
    assert files.blobs("w") == []


def test_text_of_any_length_stays_what_it_is(store):
    words = np.array(["a", "a longer text"] * 10, np.dtypes.StringDType())
    store.save("w", "a", da.from_array(words, chunks=7))
    loaded = store.read_task("w", "a")
    assert loaded.dtype == words.dtype
    assert loaded.compute().tolist() == words.tolist()


def test_chunks_too_large_for_hdf5_are_divided(store, monkeypatch):
    from functionfuse.serializers import daskarray

    monkeypatch.setattr(daskarray, "_LARGEST", 1000)
    array = np.arange(6000.0).reshape(20, 300)
    store.save("w", "a", da.from_array(array, chunks=(20, 150)))
    loaded = store.read_task("w", "a")
    assert loaded.chunks == ((20,), (150, 150))
    same(loaded.compute(), array)


def test_an_array_used_twice_is_one_blob_and_one_array(store, files):
    shared = da.ones((20, 20), chunks=10)
    store.save("w", "a", {"x": shared, "y": [shared]})
    loaded = store.read_task("w", "a")
    assert loaded["x"] is loaded["y"][0]
    assert len(files.blobs("w")) == 1


def test_loading_reads_no_chunk(store, saved, files):
    path = blob_path(files)
    path.write_bytes(bytes(path.stat().st_size))  # all that could be read is wrong
    loaded = store.read_task("w", "a")
    assert loaded.shape == saved.shape
    assert loaded.T[5:].sum(axis=0).shape == (25,)
    with pytest.raises(CorruptRecord):
        loaded.compute()


def test_chunks_are_read_on_demand(store, saved, monkeypatch):
    from functionfuse.serializers import _hdf5_reading

    cells = []
    read = _hdf5_reading.ChunkReader._read
    monkeypatch.setattr(_hdf5_reading.ChunkReader, "_read", lambda self, cell: cells.append(cell) or read(self, cell))
    loaded = store.read_task("w", "a")
    assert cells == []
    same(loaded[12:18, 3].compute(), saved[12:18, 3])
    assert cells == [(1, 0)]


@pytest.mark.parametrize(
    "index",
    [np.s_[3], np.s_[-1, -2], np.s_[::7, ::-3], np.s_[20:2:-5, 1], np.s_[5:5], np.s_[..., None, 30:], np.s_[[3, 1]]],
)
def test_slicing_a_loaded_array(store, saved, index):
    same(np.asarray(store.read_task("w", "a")[index].compute()), np.asarray(saved[index]))


@pytest.mark.parametrize("size", [10, 100_000])
def test_blocks_are_read_only_and_what_is_computed_is_not(store, size):
    def add_in_place(block):
        block += 1
        return block

    store.save("w", "a", da.zeros(2 * size, chunks=size))
    loaded = store.read_task("w", "a")
    with pytest.raises(ValueError, match="read-only"):
        loaded.map_blocks(add_in_place, meta=np.empty(0)).compute()
    loaded.compute()[:] = 1
    loaded[:size].compute()[:] = 1
    assert not loaded.any().compute()


def test_large_chunks_are_mapped_and_checked_like_small_ones(store, files):
    array = np.arange(100_000.0).reshape(100, 1000)
    store.save("w", "a", da.from_array(array, chunks=(30, 700)))
    loaded = store.read_task("w", "a")
    same(loaded.compute(), array)
    with blob_path(files).open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"damage")
    with pytest.raises(CorruptRecord, match="damaged"):
        loaded.compute()
    os.truncate(blob_path(files), 20_000)
    with pytest.raises(CorruptRecord, match="truncated"):
        loaded.compute()
    os.truncate(blob_path(files), 0)
    with pytest.raises(CorruptRecord, match="truncated"):
        store.read_task("w", "a").compute()


def test_chunks_are_copied_where_files_are_not_mapped(store, files, monkeypatch):
    from functionfuse.serializers import _hdf5_reading

    monkeypatch.setattr(_hdf5_reading, "is_on_network", lambda path: True)
    array = np.arange(100_000.0).reshape(100, 1000)
    store.save("w", "a", da.from_array(array, chunks=(30, 700)))
    same(store.read_task("w", "a").compute(), array)


def test_saving_computes_every_block_once(store):
    lock, blocks = threading.Lock(), []

    def note(block, block_info=None):
        with lock:
            blocks.append(block_info[None]["chunk-location"])
        return block

    array = da.ones((20, 30), chunks=10).map_blocks(note, dtype=float, meta=np.empty((0, 0)))
    store.save("w", "a", array)
    assert sorted(blocks) == [(i, j) for i in range(2) for j in range(3)]
    store.read_task("w", "a").compute()
    assert len(blocks) == 6


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


def test_a_truncated_file_is_found(store, saved, files):
    path = blob_path(files)
    loaded = store.read_task("w", "a")
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(CorruptRecord, match=r"damaged|truncated"):
        loaded.compute()
    assert [name for name, _ in store.check_workflow("w")] == ["a"]


def test_a_file_that_is_gone(store, saved, files):
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
    from functionfuse.serializers import _hdf5_reading

    path = str(blob_path(files))
    loaded = [store.read_task("w", "a"), store.read_task("w", "a")]
    assert path in _hdf5_reading._open_files
    loaded.clear()
    gc.collect()
    assert path not in _hdf5_reading._open_files


def test_beyond_some_arrays_files_are_opened_when_read(store, saved, files, monkeypatch):
    from functionfuse.serializers import _hdf5_reading

    monkeypatch.setattr(_hdf5_reading, "_MOST_OPEN", 0)
    loaded = store.read_task("w", "a")
    gc.collect()
    assert str(blob_path(files)) not in _hdf5_reading._open_files
    same(loaded.compute(), saved)
    store.remove_task("w", "a")
    with pytest.raises(CorruptRecord, match="read the result again"):
        loaded.compute()


def test_gc_leaves_what_a_result_needs(store, saved, files):
    orphan = blob_path(files).with_name(f"{'0' * 32}.h5")
    orphan.write_bytes(b"left by a killed writer")
    assert store.gc("w", grace=0) == [orphan.name]
    same(store.read_task("w", "a").compute(), saved)


def test_a_loaded_array_goes_to_another_process(store, saved, tmp_path):
    Path(tmp_path, "array").write_bytes(pickle.dumps(store.read_task("w", "a")))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).sum().compute())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "array")], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) == saved.sum()


def test_a_loaded_array_pickles_small_and_without_content(store):
    store.save("w", "a", da.ones((1000, 1000), chunks=500))
    assert len(pickle.dumps(store.read_task("w", "a"))) < 10_000


def test_a_block_that_fails_leaves_nothing(store, saved, files):
    def fail(block):
        raise ZeroDivisionError("in a block")

    before = files.all()
    with pytest.raises(ZeroDivisionError, match="in a block"):
        store.save("w", "a", da.ones(100, chunks=10).map_blocks(fail, meta=np.empty(0)))
    assert files.all() == before
    same(store.read_task("w", "a").compute(), saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda block: block[:-1], "shape"),
        (lambda block: block + 0.5, "dtype"),
        (lambda block: np.ma.masked_array(block, block == 1), "masked"),
    ],
)
def test_a_block_that_is_not_what_its_array_says(store, change, message):
    array = da.ones(20, chunks=10, dtype="i4").map_blocks(change, dtype="i4", meta=np.empty(0, "i4"))
    with pytest.raises(StorageError, match=message):
        store.save("w", "a", array)
    assert store.list_tasks("w") == []


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


def test_what_it_needs_is_named_when_it_is_missing(store, saved, monkeypatch):
    monkeypatch.setattr(DaskArraySerializer, "requires", ("dask", "no_such_module"))
    with pytest.raises(MissingSerializer, match=r"'dask\.array', which needs no_such_module"):
        store.read_task("w", "a")


def test_the_name_of_the_original():
    assert HDFSerializer is DaskArraySerializer


def test_its_module_imports_nothing_that_is_not_needed():
    code = "import sys, functionfuse.serializers.daskarray; print({'dask', 'h5py', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def test_a_store_without_files_is_refused():
    class Elsewhere:
        kind = "S3"

    with pytest.raises(StorageError, match=r"kind 'file', not 'S3'; save array\.compute\(\) there"):
        DaskArraySerializer().save(da.ones(3), Elsewhere())
