"""Write a dask array into an HDF5 file, past HDF5.

HDF5 makes the file, with room for every chunk; then each task writes its own chunks where they belong, by
threads and without HDF5's one lock.
"""

from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np

from functionfuse.errors import StorageError
from functionfuse.storage._file.disk import os_errors
from functionfuse.storage._record.checksum import crc32

from .blocks import BlockTarget

_PIECE = 1 << 19  # bytes that stay in the cache between checksum and write
_ALIGNMENT = 4096


def write(path: str, array: Any) -> dict[str, Any]:
    """Compute an array of regular chunks into a new file; return where each chunk is, and its crc32.

    Args:
        path: of the new file.
        array: of regular chunks.
    """
    with os_errors("write", path):
        offsets = _make_file(path, array)
    target = _HDF5Target(array, path, offsets)
    target.fill(array)
    return {"chunk": array.chunksize, "offsets": offsets, "crcs": target.crcs}


def _make_file(path: str, array: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Make a file with room for every chunk, and return where each is."""
    chunk = array.chunksize
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(chunk)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    found: dict[tuple[int, ...], int] = {}
    try:
        with h5py.File(
            path, "x", libver="v110", locking=False, alignment_threshold=_ALIGNMENT, alignment_interval=_ALIGNMENT
        ) as file:
            space = h5py.h5s.create_simple(array.shape)
            dataset = h5py.h5d.create(file.id, b"data", _stored_type(array.dtype), space, layout)
            dataset.chunk_iter(lambda chunk: found.__setitem__(tuple(chunk.chunk_offset), chunk.byte_offset))
    except RuntimeError as error:  # what h5py makes of some errors of the system
        raise StorageError(f"cannot write {path!r}: {error}") from error
    offsets = np.zeros([-(-size // step) for size, step in zip(array.shape, chunk, strict=True)], np.uint64)
    for corner, offset in found.items():
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


class _HDF5Target(BlockTarget):
    def __init__(self, array: Any, path: str, offsets: np.ndarray[Any, Any]) -> None:
        super().__init__(array, path)
        self.crcs = np.zeros(offsets.shape, np.uint32)
        self._offsets = offsets

    def put(self, cell: tuple[int, ...], block: np.ndarray[Any, Any]) -> None:
        """Write a chunk where it belongs."""
        view = self._whole(block).reshape(-1).view(np.uint8).data
        with os_errors("write", self.location), open(self.location, "r+b", buffering=0) as file:  # noqa: PTH123
            self.crcs[cell] = _write(file.fileno(), view, int(self._offsets[cell]))

    def _whole(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a block in the order of C; at an edge with zeros around, as chunks are stored whole."""
        if block.shape == self.chunk:
            return np.ascontiguousarray(block)
        whole = np.zeros(self.chunk, self.dtype)
        whole[tuple(map(slice, block.shape))] = block
        return whole


def _write(descriptor: int, data: memoryview, offset: int) -> int:
    """Write everything at `offset`, and return its crc32."""
    crc = 0
    os.lseek(descriptor, offset, os.SEEK_SET)  # a descriptor of this call alone
    for at in range(0, len(data), _PIECE):
        piece = data[at : at + _PIECE]
        crc = crc32(piece, crc)
        while piece:
            piece = piece[os.write(descriptor, piece) :]
    return crc
