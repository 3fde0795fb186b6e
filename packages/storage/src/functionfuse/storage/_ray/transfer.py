"""Records and blobs on their way between a process and the machine with the disk."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._file.blob_file import BlobFile
from .._file.process_folder import process_folder
from .._record.checksum import crc32
from .._record.format import OUT_OF_BAND

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._record.format import BlobEntry
    from .._store.transport import RangeReader

_PIECE = 64 << 20  # bytes of a blob that travel at a time

_copies: dict[tuple[int, str], str] = {}


class FileNeeded(Exception):  # noqa: N818
    """A serializer needs a file, so that the result has to be written where the disk is."""


class RecordParts:
    """A `Sink` that keeps a record in memory; large buffers stay where they are."""

    def __init__(self) -> None:
        self._parts: list[bytearray | memoryview] = [bytearray()]

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        assert isinstance(self._parts[-1], bytearray)
        self._parts[-1] += data

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        self._parts += [data, bytearray()] if len(data) >= OUT_OF_BAND else []
        return [crc32(data[at : at + block]) for at in range(0, len(data), block)]

    def end_content(self) -> None:
        """The footer follows the content."""

    def as_arguments(self) -> list[pickle.PickleBuffer]:
        """Return the record as arguments of a task, which Ray does not copy more than once."""
        return [pickle.PickleBuffer(part) for part in self._parts if part]


class NoBlobs:
    """The blobs of a record that is written away from the disk: there can be none.

    Methods that make or find one raise FileNeeded.
    """

    kind = "file"

    def new(self, suffix: str) -> tuple[str, str]:
        raise FileNeeded(suffix)

    def path(self, blob: str) -> str:
        raise FileNeeded(blob)

    def file(self, blob: str) -> RangeReader:
        raise FileNeeded(blob)

    def size(self, blob: str) -> int:
        raise FileNeeded(blob)

    def listed(self) -> list[BlobEntry]:
        return []

    def discard(self) -> None:
        """There is nothing to delete."""


class RemoteFile:
    """A file on the machine with the disk: parts of it travel to whoever reads them, wherever that is.

    See `RangeReader`.

    Args:
        location: the path there.
        machine: the id of that machine.
        call: calls a method of the store there: `call("read_blob", blob, offset, length)`.
        blob: the id of the blob.
    """

    def __init__(self, location: str, machine: str, call: Callable[..., Any], blob: str) -> None:
        self.location = location
        self._machine = machine
        self._call = call
        self._blob = blob
        self._near: BlobFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_near": None}

    def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        if this_machine() == self._machine:
            self._near = self._near or BlobFile(self.location, maps=True)
            return self._near.read(offset, length)
        return memoryview(self._call("read_blob", self._blob, offset, length))


class RemoteBlobs:
    """The blobs of a workflow on another machine. `path` copies one here, `file` reads it there.

    See `BlobReader`.

    Args:
        call: calls a method of the store there: `call("read_blob", blob, offset, length)`.
        location: of the workflow, to tell copies of equal blobs apart.
    """

    kind = "file"

    def __init__(self, call: Callable[..., Any], location: str) -> None:
        self._call = call
        self._location = location

    def path(self, blob: str) -> str:
        """Return the path of a local copy of a blob, which exists as long as this process.

        Raises:
            CorruptRecord: it is missing.
        """
        known = os.getpid(), f"{self._location}/{blob}"
        if known not in _copies or not Path(_copies[known]).exists():
            size = self.size(blob)
            path = Path(tempfile.mkdtemp(dir=process_folder()), blob)
            with path.open("wb") as file:
                for offset in range(0, size, _PIECE):
                    file.write(self._call("read_blob", blob, offset, min(_PIECE, size - offset)))
            _copies[known] = str(path)
        return _copies[known]

    def file(self, blob: str) -> RemoteFile:
        """Return a blob as a file to read parts of.

        Raises:
            CorruptRecord: it is missing.
        """
        location, machine = self._call("location_of_blob", blob)
        return RemoteFile(location, machine, self._call, blob)

    def size(self, blob: str) -> int:
        size: int = self._call("size_of_blob", blob)
        return size


def this_machine() -> str:
    """Return the id of the machine of the cluster that this process runs on; none for a client of a cluster."""
    import ray
    import ray.util.client

    if not ray.is_initialized() or ray.util.client.ray.is_connected():
        return ""
    machine: str = ray.get_runtime_context().get_node_id()
    return machine
