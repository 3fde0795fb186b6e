"""Dask arrays in every kind of store: exact, lazy, and checked."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from functionfuse.errors import MissingSerializer, StorageError
from functionfuse.serializers.daskarray import DaskArraySerializer, HDFSerializer
from functionfuse.storage import FileStore

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")

RECORD = np.dtype([("when", "M8[s]"), ("text", "U3"), ("x", ">f8", (2,))])


@pytest.fixture(params=["file", "S3"])
def kind(request):
    if request.param == "S3":
        pytest.importorskip("zarr", reason="zarr is not installed")
    return request.param


@pytest.fixture
def store(kind, root, request):
    made = FileStore(root, durable=False) if kind == "file" else request.getfixturevalue("s3_store")
    made.register_persistent_serializers(DaskArraySerializer)
    return made


@pytest.fixture
def kept(kind, files, request):
    """What the store keeps, by name."""
    return files if kind == "file" else request.getfixturevalue("objects")


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
def test_every_dtype_comes_back_bit_by_bit(store, kept, dtype):
    array = np.arange(60, dtype="u4").view("V4") if dtype == "V4" else numbers(np.dtype(dtype))
    store.save("w", "a", da.from_array(array.reshape(6, 10), chunks=(4, 3)))
    loaded = store.read_task("w", "a")
    assert loaded.chunks == ((4, 2), (3, 3, 3, 1))
    same(loaded.compute(), array.reshape(6, 10))
    assert len(kept.blobs("w")) == 1


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
def test_nothing_and_single_values_stay_in_the_record(store, kept, shape):
    array = np.full(shape, 7.5)
    store.save("w", "a", da.from_array(array, chunks=shape or -1))
    loaded = store.read_task("w", "a")
    assert isinstance(loaded, da.Array)
    same(np.asarray(loaded.compute()), array)
    assert kept.blobs("w") == []


def test_objects_and_masks_stay_what_they_are(store, kept):
    objects = np.array(["a", None, 3], dtype=object)
    masked = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
    store.save("w", "a", [da.from_array(objects, chunks=2), da.from_array(masked, chunks=2)])
    first, second = store.read_task("w", "a")
    assert first.compute().tolist() == ["a", None, 3]
    assert second.compute().tolist() == [1, None, 3]
    assert (first.chunks, second.chunks) == (((2, 1),), ((2, 1),))
    assert kept.blobs("w") == []


def test_text_of_any_length_stays_what_it_is(store):
    words = np.array(["a", "a longer text"] * 10, np.dtypes.StringDType())
    store.save("w", "a", da.from_array(words, chunks=7))
    loaded = store.read_task("w", "a")
    assert loaded.dtype == words.dtype
    assert loaded.compute().tolist() == words.tolist()


def test_chunks_too_large_to_keep_are_divided(store):
    serializer = DaskArraySerializer()
    serializer.largest_chunk = 1000
    store.register_persistent_serializers(serializer)
    array = np.arange(6000.0).reshape(20, 300)
    store.save("w", "a", da.from_array(array, chunks=(20, 150)))
    loaded = store.read_task("w", "a")
    assert loaded.chunks == ((20,), (150, 150))
    same(loaded.compute(), array)


def test_an_array_used_twice_is_one_blob_and_one_array(store, kept):
    shared = da.ones((20, 20), chunks=10)
    store.save("w", "a", {"x": shared, "y": [shared]})
    loaded = store.read_task("w", "a")
    assert loaded["x"] is loaded["y"][0]
    assert len(kept.blobs("w")) == 1


def test_a_shared_array_in_two_results_is_independent(store, kept):
    shared = da.ones((20, 20), chunks=10)
    for name in ("a", "b"):
        store.save("w", name, shared)
    assert len(kept.blobs("w")) == 2
    store.remove_task("w", "a")
    assert len(kept.blobs("w")) == 1
    assert store.read_task("w", "b").sum().compute() == 400


def test_what_is_replaced_may_be_read_for_its_successor(store, saved, kept):
    store.save("w", "a", store.read_task("w", "a") + 1)
    assert len(kept.blobs("w")) == 1
    same(store.read_task("w", "a").compute(), saved + 1)
    store.remove_task("w", "a")
    assert kept.blobs("w") == []


def test_sound_arrays_pass_the_check(store, saved):
    assert store.check_workflow("w") == []


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


def test_a_block_that_fails_leaves_nothing(store, saved, kept):
    def fail(block):
        raise ZeroDivisionError("in a block")

    before = kept.all()
    with pytest.raises(ZeroDivisionError, match="in a block"):
        store.save("w", "a", da.ones(100, chunks=10).map_blocks(fail, meta=np.empty(0)))
    assert kept.all() == before
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


def test_what_it_needs_is_named_when_it_is_missing(store, saved, monkeypatch):
    monkeypatch.setattr(DaskArraySerializer, "requires", ("dask", "no_such_module"))
    with pytest.raises(MissingSerializer, match=r"'dask\.array', which needs no_such_module"):
        store.read_task("w", "a")


def test_the_name_of_the_original():
    assert HDFSerializer is DaskArraySerializer


def test_its_module_imports_nothing_that_is_not_needed():
    code = "import sys, functionfuse.serializers.daskarray; print({'dask', 'h5py', 'numpy', 'zarr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
