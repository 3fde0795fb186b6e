"""The sink of a record on its way into an object: memory while it is small, a multipart upload from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._record.checksum import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    from .multipart import MultipartUpload

PART = 16 << 20
_LARGER_EACH = 1000  # parts; there may be 10,000, and so a record of 800 GiB has room


class ObjectSink:
    """Keeps a small record in memory, and sends a large one by a multipart upload; see `Sink`.

    Args:
        start: called when the record turns out large; returns the upload to send it with.
        apart: send only the content by that upload, and keep the rest of the record in memory.
    """

    def __init__(self, start: Callable[[], MultipartUpload], *, apart: bool) -> None:
        self.pending = bytearray()
        """What has not been sent."""
        self.multipart: MultipartUpload | None = None
        self._start = start
        self.apart = apart
        self._is_rest = False

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        view = memoryview(data).cast("B")
        while not self._is_rest and len(self.pending) + len(view) >= (size := self._part_size()):
            room = size - len(self.pending)
            self.send(b"".join((self.pending, view[:room])) if self.pending else view[:room])
            self.pending = bytearray()
            view = view[room:]
        self.pending += view

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        checksums = []
        step = max(block, PART // block * block)  # near to a part, so that sending starts early
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            checksums += [crc32(piece[at : at + block]) for at in range(0, len(piece), block)]
            self.write(piece)
        return checksums

    def end_content(self) -> str | None:
        """Make large content visible as a blob, if it goes apart."""
        if self.multipart is None or not self.apart:
            return None
        self.flush()
        self.multipart.complete()
        blob = self.multipart.key.rpartition("/")[2]
        self.multipart = None
        self._is_rest = True
        return blob

    def flush(self) -> None:
        """Send what is left of a large record, and wait until all of it is sent."""
        if self.multipart:
            if self.pending:
                self.send(bytes(self.pending))
                self.pending = bytearray()
            self.multipart.join()

    def abort(self) -> None:
        """Give up: what was sent is deleted."""
        if self.multipart:
            self.multipart.abort()

    def _part_size(self) -> int:
        return PART * (1 + (len(self.multipart) if self.multipart else 0) // _LARGER_EACH)

    def send(self, body: bytes | memoryview) -> None:
        """Send bytes as the next part."""
        if self.multipart is None:
            self.multipart = self._start()
        self.multipart.send(body)
