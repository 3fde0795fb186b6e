"""Read parts of a blob that is a file."""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from typing import Any

from functionfuse.errors import CorruptRecord, StorageError

from .disk import POSIX, READ, os_errors
from .root import is_on_network

_MAPPED = 1 << 16  # bytes from which a map is faster than a copy
MOST_OPEN = 100  # each takes two file descriptors

_open_files: weakref.WeakValueDictionary[tuple[str, bool], _OpenFile] = weakref.WeakValueDictionary()


class BlobFile:
    """A file that can be sent to other processes that see it.

    What is read may be the file itself, mapped. Whoever holds this holds the file open, and can read it in this
    process when it is removed; beyond 100 files, each is opened when it is read.

    Args:
        location: path of the file.
        maps: return views of the mapped file where that is faster.
    """

    def __init__(self, location: str, *, maps: bool) -> None:
        self.location = location
        self._maps = maps
        self._file: _OpenFile | None = None
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def read(self, offset: int, length: int) -> memoryview | bytearray:
        """Return bytes of the file, read-only.

        Args:
            offset: of the first byte.
            length: how many bytes.

        Raises:
            CorruptRecord: the file ends before, or is missing.
        """
        return self._open().read(offset, length)

    def _open(self) -> _OpenFile:
        if self._file is not None:
            return self._file
        file = _opened(self.location, maps=self._maps)
        if len(_open_files) <= MOST_OPEN:
            self._file = file
        return file


class _OpenFile:
    """A file that is closed when no reader refers to it any more."""

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
                f"blob {path!r} is missing: removed with its result, or not on this machine; read the result again"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot read {path!r}: {error.strerror}") from error

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, length: int) -> memoryview | bytearray:
        """Return bytes of the file; many of them not copied."""
        with os_errors("read", self._path):
            # Also of what is mapped already: touching it beyond the end of the file would kill the process.
            if os.fstat(self._descriptor).st_size < offset + length:
                raise CorruptRecord(f"{self._path!r} is truncated")
            if self._map is not None and length >= _MAPPED:
                return memoryview(self._map)[offset : offset + length]
            return self._copied(offset, length)

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
