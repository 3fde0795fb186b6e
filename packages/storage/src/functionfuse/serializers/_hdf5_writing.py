"""Write a dask array into an HDF5 file, past HDF5.

HDF5 makes the file, with room for every chunk; then each task writes its own chunks where they belong, by
threads and without HDF5's one lock.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import h5py
import numpy as np

from functionfuse.errors import StorageError
from functionfuse.storage._disk import telling

if TYPE_CHECKING:
    from collections.abc import Sequence

_BITE = 1 << 20  # bytes that stay in the cache between checksum and write
_ALIGNMENT = 4096


def can_keep(array: Any, most_axes: int) -> bool:
    """Whether HDF5 has a place for an array of known sizes."""
    plain = type(array._meta) is np.ndarray and not array.dtype.hasobject
    return plain and 0 < array.ndim <= most_axes and bool(array.size) and bool(array.dtype.itemsize)


def write(path: str, array: Any) -> dict[str, Any]:
    """Compute an array of regular chunks into a new file; return where each chunk is, and its crc32."""
    with telling("write", path):
        offsets = _make_file(path, array)
    target = _Target(path, array.shape, array.chunksize, array.dtype, offsets)
    with dask.config.set(scheduler="threads"):
        da.store(array, target, lock=False)
    if not target.written.all():
        raise StorageError(f"only {target.written.sum()} of {target.written.size} chunks came to {path!r}")
    return {"chunk": array.chunksize, "offsets": offsets, "crcs": target.crcs}


def _make_file(path: str, array: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Make a file with room for every chunk, and return where each is."""
    chunk = array.chunksize
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(chunk)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    places: dict[tuple[int, ...], int] = {}
    try:
        with h5py.File(
            path, "x", libver="v110", locking=False, alignment_threshold=_ALIGNMENT, alignment_interval=_ALIGNMENT
        ) as file:
            space = h5py.h5s.create_simple(array.shape)
            dataset = h5py.h5d.create(file.id, b"data", _stored_type(array.dtype), space, layout)
            dataset.chunk_iter(lambda place: places.__setitem__(tuple(place.chunk_offset), place.byte_offset))
    except RuntimeError as error:  # what h5py makes of some errors of the system
        raise StorageError(f"cannot write {path!r}: {error}") from error
    offsets = np.zeros([-(-size // step) for size, step in zip(array.shape, chunk, strict=True)], np.uint64)
    for corner, offset in places.items():
        offsets[tuple(at // step for at, step in zip(corner, chunk, strict=True))] = offset
    return offsets


def _stored_type(dtype: np.dtype[Any]) -> h5py.h5t.TypeID:
    """Return the HDF5 type of exactly the bytes that NumPy has; where there is none, an opaque one."""
    try:
        found = h5py.h5t.py_create(dtype, logical=True)
        if found.get_size() == dtype.itemsize and found.dtype == dtype:
            return found
    except (TypeError, ValueError):
        pass
    if dtype.fields:
        return h5py.h5t.py_create(np.dtype(f"V{dtype.itemsize}"))
    # The way h5py itself keeps datetime64, so that it reads them back as such.
    return h5py.h5t.py_create(h5py.opaque_dtype(dtype), logical=True)


class _Target:
    """What ``da.store`` assigns blocks to."""

    def __init__(
        self, path: str, shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype[Any], offsets: np.ndarray[Any, Any]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.written = np.zeros(offsets.shape, bool)
        self.crcs = np.zeros(offsets.shape, np.uint32)
        self._path = path
        self._chunk = chunk
        self._offsets = offsets

    def __setitem__(self, index: tuple[slice, ...], block: Any) -> None:
        wanted = tuple(part.stop - part.start for part in index)
        cell = tuple(part.start // step for part, step in zip(index, self._chunk, strict=True))
        data = self._whole(_checked(block, wanted, self.dtype), wanted)
        view = data.reshape(-1).view(np.uint8).data
        with telling("write", self._path), open(self._path, "r+b", buffering=0) as file:  # noqa: PTH123
            self.crcs[cell] = _write(file.fileno(), view, int(self._offsets[cell]))
        self.written[cell] = True

    def _whole(self, block: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return a block in the order of C; at an edge with zeros around, as chunks are stored whole."""
        if shape == tuple(self._chunk):
            return np.ascontiguousarray(block)
        whole = np.zeros(self._chunk, self.dtype)
        whole[tuple(map(slice, shape))] = block
        return whole


def _checked(block: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return a block as an array of the dtype that dask was told, if nothing is lost by it."""
    if isinstance(block, np.ma.MaskedArray):
        raise StorageError("a block is masked and its array does not say so; pass meta=np.ma.array([]) to dask")
    array = np.asarray(block)
    if array.shape != shape:
        raise StorageError(f"a block has shape {array.shape!r} where its array says {shape!r}; check its chunks")
    if not np.can_cast(array.dtype, dtype, "safe"):
        raise StorageError(f"a block has dtype {array.dtype!r} where its array says {dtype!r}; call astype")
    return array.astype(dtype, copy=False)


def _write(descriptor: int, data: memoryview, offset: int) -> int:
    """Write everything at ``offset``, and return its crc32."""
    crc = 0
    os.lseek(descriptor, offset, os.SEEK_SET)  # a descriptor of this call alone
    for at in range(0, len(data), _BITE):
        bite = data[at : at + _BITE]
        crc = zlib.crc32(bite, crc)
        while bite:
            bite = bite[os.write(descriptor, bite) :]
    return crc
