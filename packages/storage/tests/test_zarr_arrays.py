"""Dask arrays in a bucket: Zarr v3, where no chunk is ever taken for empty."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import s3_server as s3

from functionfuse.errors import CorruptRecord, StorageError
from functionfuse.serializers.daskarray import DaskArraySerializer
from functionfuse.storage import S3Store

da = pytest.importorskip("dask.array", reason="dask.array is not installed")
zarr = pytest.importorskip("zarr", reason="zarr is not installed")


@pytest.fixture
def store(s3_store):
    s3_store.register_persistent_serializers(DaskArraySerializer)
    return s3_store


@pytest.fixture
def behind(store, s3_proxy, s3_options):
    """The store again, behind the proxy."""
    made = S3Store(**{**s3_options, "endpoint_url": s3_proxy.endpoint}, retry_seconds=0)
    made.register_persistent_serializers(DaskArraySerializer)
    return made


def chunks(objects):
    return [name for name in objects.all() if "/c/" in name]


def test_it_is_plain_zarr(store, saved, objects):
    [blob] = objects.blobs("w")
    assert blob.endswith(".zarr")
    assert len(chunks(objects)) == 9
    array = zarr.open_array(store._transport.blobs("w").zarr_store(blob), mode="r")
    assert (array.metadata.zarr_format, array.chunks, array.dtype) == (3, (10, 16), saved.dtype)
    assert [codec.to_dict()["name"] for codec in array.metadata.codecs] == ["bytes", "crc32c"]
    assert np.array_equal(array[...], saved)


def test_what_equals_the_fill_value_is_written(store, objects):
    store.save("w", "a", da.zeros((20, 20), chunks=10))
    assert len(chunks(objects)) == 4
    assert not store.read_task("w", "a").compute().any()


@pytest.mark.parametrize("array", [da.ones((25, 40), chunks=(10, 16)), da.zeros(10, chunks=3)], ids=["ones", "zeros"])
def test_a_chunk_that_is_gone_is_never_zeros(store, objects, array):
    store.save("w", "a", array)
    loaded = store.read_task("w", "a")
    for name in chunks(objects):
        content = objects.read(name)
        objects.delete(name)
        with pytest.raises(CorruptRecord, match=f"{name}' is missing"):
            loaded.compute()
        assert [task for task, _ in store.check_workflow("w")] == ["a"]
        objects.write(name, content)
    assert loaded.compute().shape == array.shape


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:-8],
        lambda content: content[:3],
        lambda content: b"",
        lambda content: content + b"more",
        lambda content: bytes(len(content)),
    ],
    ids=["first byte", "last byte", "cut", "cut short", "empty", "longer", "zeros"],
)
def test_a_damaged_chunk_is_found(store, saved, objects, damage):
    loaded = store.read_task("w", "a")
    for name in (chunks(objects)[0], chunks(objects)[-1]):
        content = objects.read(name)
        objects.write(name, damage(content))
        with pytest.raises(CorruptRecord, match=r"s3://results/.*\.zarr/.*damaged"):
            loaded.compute()
        objects.write(name, content)
    assert np.array_equal(loaded.compute(), saved)


def test_its_description_is_in_the_record(store, saved, objects):
    [blob] = objects.blobs("w")
    objects.write(f"w/.big/{blob}/zarr.json", b'{"zarr_format": 3, "node_type": "array", "shape": [1]}')
    assert np.array_equal(store.read_task("w", "a").compute(), saved)


def test_a_missing_array_is_an_error_when_its_result_is_read(store, saved, objects):
    for name in objects.all():
        if "/.big/" in name:
            objects.delete(name)
    with pytest.raises(CorruptRecord, match="missing"):
        store.read_task("w", "a")


def test_a_removed_array_is_an_error_that_says_what_to_do(store, saved):
    loaded = store.read_task("w", "a")
    store.remove_task("w", "a")
    with pytest.raises(CorruptRecord, match="read the result again"):
        loaded.compute()


def test_loading_reads_no_chunk_and_slicing_only_what_it_needs(behind, saved, s3_proxy):
    loaded = behind.read_task("w", "a")
    assert loaded[5:].T.shape == (40, 20)
    assert not [line for line in s3_proxy.seen if "/c/" in line]
    assert np.array_equal(loaded[12:18, 3].compute(), saved[12:18, 3])
    assert [line.rpartition("/c/")[2] for line in s3_proxy.seen if "/c/" in line] == ["1/0"]


def test_each_chunk_is_one_request(behind, objects, s3_proxy):
    behind.save("w", "a", da.ones((25, 40), chunks=(10, 16)))
    behind.read_task("w", "a").compute()
    assert sorted(line for line in s3_proxy.seen if "/c/" in line) == sorted(
        f"{verb} /results/{objects.prefix}{name}" for name in chunks(objects) for verb in ("GET", "PUT")
    )


def test_irregular_chunks_are_all_written_by_one_task(store, objects):
    array = np.arange(9000.0).reshape(300, 30)
    irregular = da.from_array(array, chunks=((7, 100, 1, 192), (11, 19)))
    for _ in range(3):
        store.save("w", "a", irregular)
        assert np.array_equal(store.read_task("w", "a").compute(), array)


def test_a_server_that_ends_is_an_error_of_the_store(saved, s3_proxy, s3_options):
    once = {"options": {"retries": {"total_max_attempts": 1}}, "retry_seconds": 0}
    reader = S3Store(**{**s3_options, "endpoint_url": s3_proxy.endpoint, **once})
    loaded = reader.read_task("w", "a")
    s3_proxy.stop()
    with pytest.raises(StorageError, match=r"cannot read 's3://results/.*/c/\d/\d': no response from") as caught:
        loaded.compute()
    assert not isinstance(caught.value, CorruptRecord)


@pytest.mark.parametrize("verdict", ["lose response", "cut response"])
def test_responses_that_are_lost_or_cut_are_asked_for_again(behind, saved, s3_proxy, verdict):
    left = iter([verdict] * 2)
    s3_proxy.rule = lambda request: next(left, None) if "/c/" in request.path else None
    assert np.array_equal(behind.read_task("w", "a").compute(), saved)
    assert next(left, None) is None
    left = iter(["lose response"] * 2)
    behind.save("w", "a", da.ones(100, chunks=10))
    assert next(left, None) is None
    assert behind.read_task("w", "a").sum().compute() == 100


def test_blocks_that_fail_beside_others_leave_nothing(store, saved, objects, s3_proxy, behind):
    writing, failed = threading.Event(), threading.Event()
    others = iter([False])

    def block(value):
        if not next(others, True):
            assert writing.wait(20)
            failed.set()
            raise ZeroDivisionError("in a block")
        return value

    def hold_back(request):
        if "/c/" in request.path and request.command == "PUT":
            writing.set()
            assert failed.wait(20)  # still on its way when the save has failed

    s3_proxy.rule = hold_back
    before = objects.all()
    with pytest.raises(ZeroDivisionError, match="in a block"):
        behind.save("w", "a", da.ones(40, chunks=10).map_blocks(block, meta=np.empty(0)))
    assert objects.all() == before
    assert np.array_equal(store.read_task("w", "a").compute(), saved)


def test_a_result_that_fails_after_its_array_leaves_nothing(store, objects):
    with pytest.raises(TypeError):
        store.save("w", "a", [da.ones(10, chunks=5), threading.Lock()])
    assert objects.all() == ["ffstore.json"]


def test_a_write_that_the_server_refuses_leaves_nothing(behind, objects, s3_proxy):
    def rule(request):
        if request.path.endswith("/c/1"):
            request.headers.replace_header("Authorization", "AWS4-HMAC-SHA256 nonsense")

    s3_proxy.rule = rule
    before = objects.all()
    with pytest.raises(StorageError, match=r"cannot write 's3://results/.*/c/1'"):
        behind.save("w", "a", da.ones(40, chunks=10))
    assert objects.all() == before


KILLED = """
import os, sys
import dask.array as da
import numpy as np
from functionfuse.storage import S3Store

def block(value, block_info=None):
    if block_info[None]["chunk-location"] == (5,):
        os.kill(os.getpid(), 9)
    return value

store = S3Store(sys.argv[1], endpoint_url=sys.argv[2], region="us-east-1", credentials="env:FF_TEST_S3_")
array = da.ones(60, chunks=10).map_blocks(block, dtype=float, meta=np.empty(0))
store.save("w", "killed", array)
"""


def test_gc_takes_what_a_killed_writer_left(store, saved, objects, s3_options):
    before = objects.all()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, s3_options["path"], s3_options["endpoint_url"]], timeout=120, check=False
    )
    assert done.returncode == -9
    left = set(objects.all()) - set(before)
    assert any(name.endswith("zarr.json") for name in left)
    store.gc("w", grace=0)
    assert [name for name in objects.all() if "/.tmp/" not in name] == before
    assert np.array_equal(store.read_task("w", "a").compute(), saved)


def test_a_save_is_safe_from_gc_at_any_moment(store, behind, s3_proxy):
    collected = []

    def rule(request):
        if request.command == "PUT":
            collected.append(store.gc("w", grace=0))

    s3_proxy.rule = rule
    behind.save("w", "a", da.ones(30, chunks=10))
    assert collected == [[]] * 6  # before the draft, the description, three chunks and the record
    assert behind.read_task("w", "a").sum().compute() == 30


def test_a_pickled_array_holds_no_secret(store, saved):
    content = pickle.dumps(store.read_task("w", "a"))
    assert s3.SECRET.encode() not in content
    assert s3.KEY.encode() not in content


def test_literal_credentials_work_and_stay_in_the_process(saved, s3_options):
    options = {**s3_options, "credentials": None, "key": s3.KEY, "secret": s3.SECRET}
    store = S3Store(**options)
    store.save("w", "b", da.ones(10, chunks=5))
    loaded = store.read_task("w", "b")
    assert loaded.sum().compute() == 10
    with pytest.raises(StorageError, match="must not leave the process"):
        pickle.dumps(loaded)


def test_a_blob_of_files_still_loads(store, monkeypatch):
    from functionfuse.serializers import daskarray

    with monkeypatch.context() as patch:
        patch.setattr(daskarray, "ZarrBlobs", int)  # as before there was Zarr
        store.save("w", "a", da.arange(10, chunks=3))
    assert store.read_task("w", "a").compute().tolist() == list(range(10))


WITHOUT_ZARR = """
import sys
sys.modules["zarr"] = None
import dask.array as da
from functionfuse.errors import StorageError
from functionfuse.storage import S3Store

store = S3Store(sys.argv[1], endpoint_url=sys.argv[2], region="us-east-1", credentials="env:FF_TEST_S3_")
for call in (lambda: store.save("w", "b", da.ones(3)), lambda: store.read_task("w", "a")):
    try:
        call()
    except StorageError as error:
        print(error)
print(store.list_tasks("w"), store.remove_task("w", "a"))
"""


def test_where_zarr_is_not_installed_the_error_names_the_extra(saved, objects, s3_options):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ZARR, s3_options["path"], s3_options["endpoint_url"]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    message = "dask arrays in a store of kind 'S3' need zarr 3.1: pip install 'functionfuse-storage[zarr]'"
    assert done.stdout.splitlines() == [message, message, "['a'] ['a']"]
    assert objects.all() == ["ffstore.json"]


class TestStore:
    """What Zarr asks of a store."""

    @pytest.fixture
    def zarr_store(self, store):
        blobs = store._transport.blobs("w")
        blob, _ = blobs.new(".zarr")
        return blobs.zarr_store(blob)

    def test_groups_and_arrays_of_any_tool(self, zarr_store):
        group = zarr.create_group(zarr_store)
        group.create_array("x", shape=(4, 6), chunks=(2, 3), dtype="i4")[...] = np.arange(24).reshape(4, 6)
        group.create_array("y", shape=4, dtype="f8", fill_value=7.0)
        assert sorted(group.array_keys()) == ["x", "y"]
        assert group["x"][1:3, 2:4].tolist() == [[8, 9], [14, 15]]
        assert group["y"][...].tolist() == [7.0] * 4
        del group["x"]
        assert sorted(zarr.open_group(zarr_store, mode="r").array_keys()) == ["y"]

    def test_shards_are_read_by_ranges(self, zarr_store):
        array = zarr.create_array(zarr_store, shape=(100,), chunks=(5,), shards=(50,), dtype="i4")
        array[...] = np.arange(100)
        assert zarr.open_array(zarr_store.with_read_only(True), mode="r")[42:58].tolist() == list(range(42, 58))

    def test_what_is_read_only_is_not_written(self, zarr_store):
        reading = zarr_store.with_read_only(True)
        assert reading == zarr_store
        with pytest.raises(ValueError, match="read-only"):
            zarr.create_array(reading, shape=3, dtype="f8")
