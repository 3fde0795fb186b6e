"""Stores of objects need nothing of S3: they pass the conformance suite over a client that keeps objects in memory."""

from __future__ import annotations

import threading
import uuid

import pytest
from memory_objects import MemoryClient

from functionfuse.errors import StorageError
from functionfuse.storage._object.transport import ObjectTransport
from functionfuse.storage._store.store import RecordStore
from functionfuse.testing.store_tests import StoreTests

LARGE = 40 << 20  # bytes; three parts, and three ranges


@pytest.fixture
def client():
    return MemoryClient(uuid.uuid4().hex)


@pytest.fixture
def object_store(client):
    return RecordStore(ObjectTransport(client, "results/"))


class TestMemoryObjects(StoreTests):
    @pytest.fixture
    def store(self, client, object_store):
        self.client = client
        return object_store

    def damage(self, store, workflow, task, mutate):
        key = f"results/{store._records.encode(workflow)}/{store._records.encode(task)}.ffr"
        self.client.put(key, mutate(self.client.get(key).read()))


def keys(client):
    return [entry.key for entry in client.list_objects("")]


@pytest.mark.parametrize("create", [False, True])
def test_a_large_result_comes_and_goes_with_all_its_objects(client, object_store, create):
    object_store.save("w", "a", bytes(LARGE), create=create)
    assert object_store.read_task("w", "a") == bytes(LARGE)
    assert len(keys(client)) == 2 + create  # the marker, the record, and its content
    object_store.remove_task("w", "a")
    assert (keys(client), client.bucket.uploads) == (["results/ffstore.json"], {})


def test_blobs_come_and_go_with_their_record(client, object_store, blobby, blobby_serializer):
    object_store.register_persistent_serializers(blobby_serializer)
    object_store.save("w", "a", blobby(b"content"))
    assert object_store.read_task("w", "a").content == b"content"
    assert object_store.remove_workflow("w")
    assert keys(client) == ["results/ffstore.json"]


def test_an_upload_that_fails_leaves_nothing(client, object_store):
    with pytest.raises(TypeError):
        object_store.save("w", "a", [bytes(LARGE), [str(n) * 40_000 for n in range(900)], threading.Lock()])
    assert (keys(client), client.bucket.uploads) == (["results/ffstore.json"], {})


def test_interrupted_reads_are_retried_a_few_times(client, object_store):
    object_store.save("w", "a", b"v" * LARGE)
    client.bucket.interruptions = 2
    assert object_store.read_task("w", "a") == b"v" * LARGE
    client.bucket.interruptions = 100
    with pytest.raises(StorageError, match="half of it"):
        object_store.read_task("w", "a")


def test_a_dask_array_is_written_and_read_by_chunks(client, object_store):
    da = pytest.importorskip("dask.array", reason="dask.array is not installed")
    pytest.importorskip("zarr", reason="zarr is not installed")
    object_store.save("w", "a", da.ones((20, 30), chunks=(10, 10)))
    assert sum("/c/" in key for key in keys(client)) == 6
    assert object_store.read_task("w", "a").sum().compute() == 600
