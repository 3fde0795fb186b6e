"""Dask arrays as Zarr v3: an object for each chunk, with a checksum, and not compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec
from zarr.storage import StorePath

from functionfuse.errors import CorruptRecord, StorageError

from .blocks import BlockReader, BlockTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.abc.store import Store

_TYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
}  # fmt: skip


def write(store: Store, array: Any) -> dict[str, Any]:
    """Compute an array of regular chunks into a new store; return what Zarr knows of it.

    Args:
        store: an empty Zarr store.
        array: of regular chunks.
    """
    size = () if _is_known(array.dtype) else (array.dtype.itemsize,)
    target = zarr.create_array(
        store,
        shape=(*array.shape, *size),
        chunks=(*array.chunksize, *size),
        dtype=np.uint8 if size else array.dtype,
        filters=None,
        compressors=Crc32cCodec(),
        fill_value=0,
        config={"write_empty_chunks": True},  # a chunk that is not there is lost, not empty
    )
    _ZarrTarget(array, target).fill(array)
    return target.metadata.to_dict()


def _is_known(dtype: np.dtype[Any]) -> bool:
    """Return True if every Zarr has this type; others are kept as bytes, along one more axis."""
    return dtype.isnative and dtype.name in _TYPES


class _ZarrTarget(BlockTarget):
    def __init__(self, array: Any, target: zarr.Array[Any]) -> None:
        super().__init__(array, str(target.store))
        self._target = target

    def put(self, cell: tuple[int, ...], block: np.ndarray[Any, Any]) -> None:
        """Write a chunk."""
        if not _is_known(block.dtype):
            block = np.ascontiguousarray(block).reshape(*block.shape, 1).view(np.uint8)
        starts = (number * step for number, step in zip(cell, self.chunk, strict=True))
        self._target[tuple(slice(at, at + size) for at, size in zip(starts, block.shape, strict=False))] = block


class ZarrReader(BlockReader):
    """Reads checked chunks of an array from what `write` returned and a store, which can be pickled.

    Args:
        store: of the array; it can be pickled.
        metadata: what `write` returned.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, store: Store, metadata: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(str(store), shape, dtype)
        self._array: zarr.Array[Any] = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=StorePath(store)))

    def box(self, spans: Sequence[tuple[int, int]]) -> np.ndarray[Any, Any]:
        """Return the elements of a box: from the first to before the last along each axis.

        Raises:
            CorruptRecord: a chunk is damaged or missing.
        """
        try:
            box = np.asarray(self._array[tuple(slice(*span) for span in spans)])
        except StorageError:
            raise
        except ValueError as error:
            raise CorruptRecord(f"{self.location!r}: a chunk at {list(spans)!r} is damaged: {error}") from error
        return box if _is_known(self.dtype) else np.ascontiguousarray(box).view(self.dtype)[..., 0]
