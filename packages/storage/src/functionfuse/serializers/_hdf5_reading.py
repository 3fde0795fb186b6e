"""Read checked chunks of an HDF5 file, past HDF5."""

from __future__ import annotations

import itertools
import math
import mmap
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from functionfuse.errors import CorruptRecord, StorageError
from functionfuse.serializers._dask_blocks import BlockReader
from functionfuse.storage._checksum import crc32
from functionfuse.storage._disk import POSIX, READ, telling
from functionfuse.storage._file_root import is_on_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAPPED = 1 << 16  # bytes from which a map is faster than a copy
_MOST_OPEN = 100  # each takes two file descriptors

_open_files: weakref.WeakValueDictionary[tuple[str, bool], _OpenFile] = weakref.WeakValueDictionary()


class ChunkReader(BlockReader):
    """Reads checked chunks by a path and a table of places.

    Chunks may be the file itself, mapped. A loaded array holds its file open, and stays readable in this
    process when its result is removed; beyond 100 arrays, files are opened when they are read.
    """

    def __init__(self, path: str, state: Mapping[str, Any], *, maps: bool) -> None:
        super().__init__(path, state["shape"], state["dtype"])
        self._chunk: tuple[int, ...] = state["chunk"]
        self._offsets: np.ndarray[Any, Any] = state["offsets"]
        self._crcs: np.ndarray[Any, Any] = state["crcs"]
        self._maps = maps
        self._file: _OpenFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def open(self) -> _OpenFile:
        """Open the file, and keep it open while it is one of few."""
        if self._file is not None:
            return self._file
        file = _opened(self.place, maps=self._maps)
        if len(_open_files) <= _MOST_OPEN:
            self._file = file
        return file

    def box(self, spans: Sequence[tuple[int, int]]) -> np.ndarray[Any, Any]:
        """Return the elements from the first to before the last along each axis. CorruptRecord."""
        cells = [range(low // step, -(-high // step)) for (low, high), step in zip(spans, self._chunk, strict=True)]
        if all(len(row) == 1 for row in cells):
            return self._part(tuple(row[0] for row in cells), spans)[1]
        out = np.empty([high - low for low, high in spans], self.dtype)
        for cell in itertools.product(*cells):
            place, part = self._part(cell, spans)
            out[place] = part
        return out

    def _part(
        self, cell: tuple[int, ...], spans: Sequence[tuple[int, int]]
    ) -> tuple[tuple[slice, ...], np.ndarray[Any, Any]]:
        """Return what a chunk gives to a selection, and the place of it there."""
        place, inside = [], []
        for number, step, (low, high) in zip(cell, self._chunk, spans, strict=True):
            start, stop = max(low, number * step), min(high, (number + 1) * step)
            place.append(slice(start - low, stop - low))
            inside.append(slice(start - number * step, stop - number * step))
        return tuple(place), self._read(cell)[tuple(inside)]

    def _read(self, cell: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return a chunk. CorruptRecord."""
        length = math.prod(self._chunk) * self.dtype.itemsize
        data = self.open().read(int(self._offsets[cell]), length)
        if crc32(data.data) != self._crcs[cell]:
            raise CorruptRecord(f"{self.place!r}: chunk {cell!r} is damaged: checksum mismatch")
        return data.view(self.dtype).reshape(self._chunk)


class _OpenFile:
    """A file that is closed when nobody needs it any more."""

    def __init__(self, path: str, *, maps: bool) -> None:
        self._descriptor = -1
        self._path = path
        self._lock = threading.Lock()
        try:
            self._descriptor = os.open(path, READ)
            maps = maps and POSIX and os.fstat(self._descriptor).st_size > 0 and not is_on_network(path)
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) if maps else None
        except FileNotFoundError as error:
            raise CorruptRecord(
                f"blob {path!r} is gone: removed with its result, or not seen from here; read the result again"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot read {path!r}: {error.strerror}") from error

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return bytes of the file; many of them not copied. CorruptRecord when it ends before."""
        with telling("read", self._path):
            # Also of what is mapped already: touching it beyond the end of the file would kill the process.
            if os.fstat(self._descriptor).st_size < offset + length:
                raise CorruptRecord(f"{self._path!r} is truncated")
            if self._map is not None and length >= _MAPPED:
                return np.frombuffer(self._map, np.uint8, length, offset)
            return np.frombuffer(self._copied(offset, length), np.uint8)

    def _copied(self, offset: int, length: int) -> bytearray:
        data = bytearray()
        with self._lock:  # one position for all threads
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            while len(data) < length:
                more = os.read(self._descriptor, length - len(data))
                if not more:
                    raise CorruptRecord(f"{self._path!r} is truncated")
                data += more
        return data


def _opened(path: str, *, maps: bool) -> _OpenFile:
    """Return the open file; the name of a blob never comes again."""
    file = _open_files.get((path, maps))
    if file is None:
        file = _open_files[path, maps] = _OpenFile(path, maps=maps)
    return file
