"""Records and blobs on their way between a process and the machine with the disk."""

from __future__ import annotations

import os
import pickle
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functionfuse.errors import CorruptRecord
from functionfuse.storage._format import OUT_OF_BAND
from functionfuse.storage._s3_blobs import _process_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from functionfuse.storage._format import BlobEntry

_PIECE = 64 << 20  # bytes of a blob that travel at a time

_copies: dict[tuple[int, str], str] = {}


class NeedsDisk(Exception):  # noqa: N818
    """A serializer asks for a file, so the result has to be written where the disk is."""


class Parts:
    """A sink that keeps a record in memory; large buffers stay where they are."""

    def __init__(self) -> None:
        self._parts: list[bytearray | memoryview] = [bytearray()]

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append."""
        assert isinstance(self._parts[-1], bytearray)
        self._parts[-1] += data

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        """Append, and return the crc32 of every ``block`` bytes."""
        self._parts += [data, bytearray()] if len(data) >= OUT_OF_BAND else []
        return [zlib.crc32(data[at : at + block]) for at in range(0, len(data), block)]

    def end_content(self) -> None:
        """The footer follows the content."""

    def as_arguments(self) -> list[pickle.PickleBuffer]:
        """Return the record as arguments of a task, which Ray does not copy more than once."""
        return [pickle.PickleBuffer(part) for part in self._parts if part]


class NoFiles:
    """The blobs of a record that is written away from the disk: there can be none."""

    kind = "file"

    def new(self, suffix: str) -> tuple[str, str]:
        raise NeedsDisk(suffix)

    def path(self, blob: str) -> str:
        raise NeedsDisk(blob)

    def size(self, blob: str) -> int:
        raise NeedsDisk(blob)

    def listed(self) -> list[BlobEntry]:
        return []

    def discard(self) -> None:
        """There is nothing to delete."""


class FetchedBlobs:
    """The blobs of a workflow, each copied to a local file when it is asked for."""

    kind = "file"

    def __init__(self, ask: Callable[..., Any], place: str) -> None:
        self._ask = ask
        self._place = place

    def path(self, blob: str) -> str:
        """Return the path of a local copy, which stays as long as this process. CorruptRecord when it is gone."""
        known = os.getpid(), f"{self._place}/{blob}"
        if known not in _copies or not Path(_copies[known]).exists():
            size = self.size(blob)
            path = Path(tempfile.mkdtemp(dir=_process_folder()), blob)
            with path.open("wb") as file:
                for offset in range(0, size, _PIECE):
                    file.write(self._ask("read_blob", blob, offset, min(_PIECE, size - offset)))
            if path.stat().st_size != size:
                raise CorruptRecord(f"blob {blob!r} changed while it was read")
            _copies[known] = str(path)
        return _copies[known]

    def size(self, blob: str) -> int:
        """Return the bytes in a blob. CorruptRecord when it is gone."""
        size: int = self._ask("blob_size", blob)
        return size
