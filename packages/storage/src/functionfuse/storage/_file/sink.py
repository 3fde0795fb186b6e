"""Where a record goes on its way into a file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .._record.checksum import crc32
from .._record.reading import THREADS
from .disk import os_errors, pwrite_all, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFERED = 1 << 18  # bytes that are written by one call of the system
_PIECE = 1 << 20  # bytes that stay in the cache between checksum and write
_PARALLEL = 32 << 20  # bytes from which a second thread pays


class FileSink:
    """Gathers small writes; checks and writes large buffers by blocks, on two threads or more; see `Sink`.

    Bytes are written right after their checksum, while they are in the cache of the processor.

    Args:
        descriptor: of the open file.
        path: of the file, for messages.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._pending = bytearray()
        self._position = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        if len(self._pending) + len(data) < _BUFFERED:
            self._pending += data
            return
        self.flush()
        self._append(memoryview(data))

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        self.flush()
        write_block = self._write_block_here
        workers = 1
        if len(data) >= _PARALLEL and hasattr(os, "pwrite"):
            workers = THREADS
        if workers == 1:
            return [write_block(data[at : at + block]) for at in range(0, len(data), block)]
        with os_errors("write", self._path), ThreadPoolExecutor(workers) as pool:
            checksums = list(pool.map(self._block_writer(data, block), range(0, len(data), block)))
        self._position += len(data)
        os.lseek(self._descriptor, self._position, os.SEEK_SET)
        return checksums

    def end_content(self) -> None:
        """The footer follows the content."""

    def flush(self) -> None:
        """Write what was gathered."""
        if self._pending:
            pending, self._pending = self._pending, bytearray()
            self._append(memoryview(pending))

    def _append(self, data: memoryview) -> None:
        with os_errors("write", self._path):
            write_all(self._descriptor, data)
        self._position += len(data)

    def _write_block_here(self, block: memoryview) -> int:
        crc = 0
        for at in range(0, len(block), _PIECE):
            piece = block[at : at + _PIECE]
            crc = crc32(piece, crc)
            self._append(piece)
        return crc

    def _block_writer(self, data: memoryview, size: int) -> Callable[[int], int]:
        def write_block(start: int) -> int:
            crc = 0
            for at in range(start, min(start + size, len(data)), _PIECE):
                piece = data[at : min(at + _PIECE, start + size)]
                crc = crc32(piece, crc)
                pwrite_all(self._descriptor, piece, self._position + at)
            return crc

        return write_block
