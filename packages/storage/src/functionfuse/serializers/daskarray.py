"""Dask arrays: each beside the record, computed once, loaded by chunks when needed. HDF5 on files, Zarr on S3.

::

    storage.register_persistent_serializers(DaskArraySerializer)

`HDFSerializer` is its name in the original. Registering is optional: it is found where dask and h5py are
installed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from functionfuse.errors import StorageError
from functionfuse.storage._serialize.serializers import Serializer
from functionfuse.storage._store.transport import ZarrBlobs

if TYPE_CHECKING:
    from types import ModuleType

    from functionfuse.serializers._dask.blocks import BlockReader
    from functionfuse.storage._store.transport import BlobReader, BlobWriter


class DaskArraySerializer(Serializer):
    """Computes a dask array into an HDF5 file, or on S3 into a Zarr array, and loads it as a dask array over that.

    Shape, dtype and chunks are those of the saved array; sizes that were not known (`nan`) are known
    after loading. Computing uses threads of this process, and takes the memory of the chunks in work. Every
    chunk has a checksum and is checked whenever it is read: CorruptRecord, also when it is missing. A loaded
    array can be sent to other processes that see the store. Functions get its blocks read-only; what
    `compute` returns is the caller's own.

    The file holds one dataset, `data`, for any HDF5 tool. The Zarr array (version 3, not compressed) has
    an object for each chunk; dtypes that not every Zarr knows are kept as bytes along one more axis.

    Arrays that have no chunks to store (0-d, empty, of objects, masked) are computed into the record.

    Raises:
        StorageError: a block is not what the array says of it, the disk is full, or on S3 zarr is not installed.
    """

    name = "dask.array"
    version = 1
    types = ("dask.array.core.Array",)
    requires = ("dask", "numpy", "h5py")
    largest_chunk = 1 << 30
    """Bytes; larger chunks are divided. HDF5 ends at 4 GiB."""

    def save(self, obj: Any, out: BlobWriter) -> dict[str, Any]:
        """Compute the array, and return where and how it is kept.

        Args:
            obj: the array.
            out: makes files beside the record.
        """
        from functionfuse.serializers._dask.blocks import can_keep

        array = _with_known_sizes(obj)
        state = {"shape": array.shape, "chunks": array.chunks, "dtype": array.dtype}
        if not can_keep(array):
            return {**state, "value": array.compute(scheduler="threads")}
        regular = _regular(array, self.largest_chunk)
        if isinstance(out, ZarrBlobs):
            zarr = _zarr_arrays()
            blob, _ = out.new(".zarr")
            return {
                **state,
                "blob": blob,
                "zarr": zarr.write(out.zarr_store(blob), regular),
            }
        from functionfuse.serializers._dask import hdf5_writing

        blob, path = out.new(".h5")
        return {**state, "blob": blob, **hdf5_writing.write(path, regular)}

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:  # noqa: ARG002
        """Return a dask array that reads its chunks when they are computed.

        Args:
            state: what `save` returned.
            inp: finds the files of the record.
            version: of the serializer that saved the object.
        """
        import dask.array as da
        import numpy as np

        chunks = state["chunks"]
        if "value" in state:
            # Masked arrays and other kinds of blocks stay what they are.
            return da.from_array(np.asanyarray(state["value"]), chunks=chunks, name=False, asarray=False)
        meta = np.empty((0,) * len(chunks), state["dtype"])
        # The name is the identity of the content: hashing it would read everything.
        name = f"ff-{state['blob'].partition('.')[0]}"
        return da.from_array(
            _reader(state, inp), chunks=chunks, name=name, lock=False, asarray=False, fancy=False, meta=meta
        )


HDFSerializer = DaskArraySerializer


def _reader(state: Any, inp: BlobReader) -> BlockReader:
    """Return what reads the blocks of a saved array."""
    if "zarr" in state:
        if not isinstance(inp, ZarrBlobs):
            raise StorageError(f"blob {state['blob']!r} was kept by a store of kind 'S3'; this one keeps files")
        zarr = _zarr_arrays()
        store = inp.zarr_store(state["blob"])
        return cast("BlockReader", zarr.ZarrReader(store, state["zarr"], state["shape"], state["dtype"]))
    from functionfuse.serializers._dask.hdf5_reading import ChunkReader

    return ChunkReader(inp.file(state["blob"]), state)


def _zarr_arrays() -> ModuleType:
    try:
        from functionfuse.serializers._dask import zarr_arrays
    except ImportError as error:
        raise StorageError(
            "dask arrays in a store of kind 'S3' need zarr 3.1: pip install 'functionfuse-storage[zarr]'"
        ) from error
    return zarr_arrays


def _with_known_sizes(array: Any) -> Any:
    """Return the array with all its sizes known; those that are not are found by computing."""
    if not any(math.isnan(size) for sizes in array.chunks for size in sizes):
        return array
    import dask
    from dask.array import Array

    # A copy, for compute_chunk_sizes changes the array that it is called on.
    own = Array(array.dask, array.name, array.chunks, meta=array._meta)
    with dask.config.set(scheduler="threads"):
        return own.compute_chunk_sizes()


def _regular(array: Any, largest: int) -> Any:
    """Return the array in equal chunks, but for the last along an axis: then each task owns what it writes."""
    chunk = [max(sizes) for sizes in array.chunks]
    while math.prod(chunk) * array.dtype.itemsize > largest:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return array.rechunk(tuple(chunk))  # the same array when its chunks are like that already
