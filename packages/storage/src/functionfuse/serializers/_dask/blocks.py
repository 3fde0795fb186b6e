"""What is the same wherever a dask array is kept: blocks that are checked on the way in, slices on the way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.system import CPU_COUNT

from functionfuse.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_AXES = 32  # of HDF5; and Zarr's chunks of bytes have one more than the array


def can_keep(array: Any) -> bool:
    """Return True if an array of known sizes can be kept outside of the record."""
    plain = type(array._meta) is np.ndarray and not array.dtype.hasobject
    return plain and 0 < array.ndim <= _MOST_AXES and bool(array.size) and bool(array.dtype.itemsize)


class BlockTarget(ABC):
    """What `da.store` assigns the blocks of an array of regular chunks to.

    Args:
        array: the dask array.
        location: of the content, for messages.
    """

    def __init__(self, array: Any, location: str) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.location = location
        self.chunk: tuple[int, ...] = array.chunksize
        self.written = np.zeros(array.numblocks, bool)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "functionfuse.target", self.location

    def __setitem__(self, index: tuple[slice, ...], block: Any) -> None:
        wanted = tuple(part.stop - part.start for part in index)
        cell = tuple(part.start // step for part, step in zip(index, self.chunk, strict=True))
        self.put(cell, _checked(block, wanted, self.dtype))
        self.written[cell] = True

    @abstractmethod
    def put(self, cell: tuple[int, ...], block: np.ndarray[Any, Any]) -> None:
        """Write a chunk, which is smaller than others at an edge; several threads call this.

        Args:
            cell: number of the chunk along each axis.
            block: the content of the chunk.
        """

    def fill(self, array: Any) -> None:
        """Compute every block of the array with threads, and write it; none is written after one failed.

        Raises:
            StorageError: a block is not what the array says of it, or could not be written.
        """
        with ThreadPoolExecutor(dask.config.get("num_workers", None) or CPU_COUNT) as pool:
            da.store(array, self, lock=False, scheduler="threads", pool=pool)
        if not self.written.all():
            raise StorageError(f"only {self.written.sum()} of {self.written.size} chunks are in {self.location!r}")


def _checked(block: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return a block as an array of the dtype that dask knows, if nothing is lost by it."""
    if isinstance(block, np.ma.MaskedArray):
        raise StorageError("a block is masked and its array does not say so; pass meta=np.ma.array([]) to dask")
    array = np.asarray(block)
    if array.shape != shape:
        raise StorageError(f"a block has shape {array.shape!r} where its array says {shape!r}; check its chunks")
    if not np.can_cast(array.dtype, dtype, "safe"):
        raise StorageError(f"a block has dtype {array.dtype!r} where its array says {dtype!r}; call astype")
    return array.astype(dtype, copy=False)


class BlockReader(ABC):
    """What a loaded dask array slices; it can be sent anywhere. What it returns is read-only.

    Args:
        location: of the content, for messages.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, location: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.location = location
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "functionfuse.reader", self.location

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
        # dask fuses later slicing into reading: numbers and steps come here too.
        spans, rest = zip(*map(_span, index, self.shape), strict=True)
        box = self.box(spans)
        box.flags.writeable = False
        return box[rest]

    @abstractmethod
    def box(self, spans: Sequence[tuple[int, int]]) -> np.ndarray[Any, Any]:
        """Return the elements of a box: from the first to before the last along each axis.

        Raises:
            CorruptRecord: a chunk is damaged or missing.
        """


def _span(part: int | slice, size: int) -> tuple[tuple[int, int], int | slice]:
    """Return what to read along an axis, and what then is to be taken of it."""
    if not isinstance(part, slice):
        at = part + size if part < 0 else part
        return (at, at + 1), 0
    wanted = range(*part.indices(size))
    if not wanted:
        return (0, 0), slice(0)
    low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
    return (low, high), slice(None, None, wanted.step)
