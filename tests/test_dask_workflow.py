"""The original's example of a dask array between nodes, with the local backend and the file store."""

from __future__ import annotations

import numpy as np
import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.serializers.daskarray import HDFSerializer
from functionfuse.storage import storage_factory

da = pytest.importorskip("dask.array", reason="dask.array is not installed")
pytest.importorskip("h5py", reason="h5py is not installed")


@workflow
def create_dask_array():
    array = da.from_array(np.arange(10_000), chunks=(1000,))
    return array * array


@workflow
def total(array):
    assert isinstance(array, da.Array)
    return int(array.sum().compute())


@pytest.fixture
def storage(tmp_path):
    storage = storage_factory({"kind": "file", "options": {"path": str(tmp_path / "storage")}})
    storage.always_read = True
    storage.register_persistent_serializers(HDFSerializer)
    return storage


def make(storage):
    node = total(create_dask_array().set_name("dask_array")).set_name("total")
    made = LocalWorkflow(node, workflow_name="storage_test")
    made.set_storage(storage)
    return made


def test_a_stored_array_is_loaded_and_used_again(storage):
    expected = sum(number * number for number in range(10_000))
    assert make(storage).run() == expected
    assert list(storage.info("storage_test", "dask_array")["serializers"]) == ["dask.array"]
    storage.remove_task(workflow_name="storage_test", task_name="total")
    assert make(storage).run() == expected
    assert len(make(storage).plan().having("reuse")) == 2
