"""Dask arrays: each in an HDF5 file beside the record, computed once, loaded by chunks when needed.

::

    storage.register_persistent_serializers(DaskArraySerializer)

``HDFSerializer`` is its name in the original. Registering is optional: it is found where dask and h5py are
installed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError
from functionfuse.storage._serializers import Serializer

if TYPE_CHECKING:
    from functionfuse.storage._transport import BlobReader, BlobWriter

_LARGEST = 1 << 30  # bytes in a chunk; HDF5 ends at 4 GiB
_MOST_AXES = 32  # of HDF5


class DaskArraySerializer(Serializer):
    """Computes a dask array into an HDF5 file, and loads it as a dask array over that file.

    Shape, dtype and chunks are those of the saved array; sizes that were not known (``nan``) are known
    after loading. Computing uses threads of this process, and takes the memory of the chunks in work. The
    file holds one dataset, ``data``, for any HDF5 tool. Every chunk has a crc32 in the record and is checked
    whenever it is read: CorruptRecord. A loaded array can be sent to other processes that see the file.
    Functions get its blocks read-only; what ``compute`` returns is the caller's own.

    Arrays that have no place in HDF5 (0-d, empty, of objects, masked) are computed into the record.

    Raises StorageError when a block is not what the array says of it, and when the disk is full.
    """

    name = "dask.array"
    version = 1
    types = ("dask.array.core.Array",)
    requires = ("dask", "numpy", "h5py")

    def save(self, obj: Any, out: BlobWriter) -> dict[str, Any]:
        """Compute the array, and return where and how it is kept."""
        from functionfuse.serializers import _hdf5_writing

        array = _with_known_sizes(obj)
        state = {"shape": array.shape, "chunks": array.chunks, "dtype": array.dtype}
        if not _hdf5_writing.can_keep(array, _MOST_AXES):
            return {**state, "value": array.compute(scheduler="threads")}
        if out.kind != "file":
            raise StorageError(
                f"dask arrays are kept in stores of kind 'file', not {out.kind!r}; save array.compute() there"
            )
        regular = _regular(array)
        blob, path = out.new(".h5")
        return {**state, "blob": blob, **_hdf5_writing.write(path, regular)}

    def load(self, state: Any, inp: BlobReader, version: int) -> Any:  # noqa: ARG002
        """Return a dask array that reads its chunks when they are computed."""
        import dask.array as da
        import numpy as np

        chunks = state["chunks"]
        if "value" in state:
            # Masked arrays and other kinds of blocks stay what they are.
            return da.from_array(np.asanyarray(state["value"]), chunks=chunks, name=False, asarray=False)
        from functionfuse.serializers._hdf5_reading import ChunkReader

        reader = ChunkReader(
            inp.path(state["blob"]), state["shape"], state["dtype"], state["chunk"], state["offsets"], state["crcs"]
        )
        reader.open()
        meta = np.empty((0,) * len(chunks), state["dtype"])
        # The name is the identity of the content: hashing it would read everything.
        name = f"ff-{state['blob'].partition('.')[0]}"
        return da.from_array(reader, chunks=chunks, name=name, lock=False, asarray=False, fancy=False, meta=meta)


HDFSerializer = DaskArraySerializer


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


def _regular(array: Any) -> Any:
    """Return the array in equal chunks, but for the last along an axis: then each task owns what it writes."""
    chunk = [max(sizes) for sizes in array.chunks]
    while math.prod(chunk) * array.dtype.itemsize > _LARGEST:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return array.rechunk(tuple(chunk))  # the same array when its chunks are like that already
