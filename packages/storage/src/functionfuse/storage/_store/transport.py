"""What a store needs of the place where its bytes are: folders of records, and blobs beside them.

A folder is an encoded workflow name, a stem an encoded task name. All that is about names, records and
rules lives in the engine, once; a transport moves bytes and makes them visible in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarr.abc.store import Store

    from .._record.format import BlobEntry

T = TypeVar("T")


class Absent(Exception):  # noqa: N818
    """There is no such record; the engine turns this into a TaskNotFound that helps."""


class RecordExists(Exception):  # noqa: N818
    """A valid record was there first."""


class Sink(Protocol):
    """Where the bytes of one record go."""

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append."""

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        """Append, and return the crc32 of every ``block`` bytes."""

    def end_content(self) -> str | None:
        """Return the id of the blob that all content went into, or None when the footer is to follow it."""


class BlobWriter(Protocol):
    """Places for data that a serializer keeps outside of the record."""

    kind: str
    """``"file"`` when ``new`` and ``path`` give paths of files."""

    def new(self, suffix: str) -> tuple[str, str]:
        """Return the id and the path of a new blob, which the caller then writes."""


class RangeReader(Protocol):
    """A blob that can be sent to other processes and read there, in parts."""

    location: str
    """Where it is, for messages."""

    def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Return bytes, not to be written to. CorruptRecord when it ends before, or is gone."""


class BlobReader(Protocol):
    """Finds the blobs that a record refers to."""

    kind: str

    def path(self, blob: str) -> str:
        """Return the path of a blob. CorruptRecord when it is gone."""

    def file(self, blob: str) -> RangeReader:
        """Return a blob as a file to read parts of, later and elsewhere too. CorruptRecord when it is gone."""

    def size(self, blob: str) -> int:
        """Return the bytes in a blob. CorruptRecord when it is gone."""


@runtime_checkable
class ZarrBlobs(Protocol):
    """Blobs of a place that keeps objects: a Zarr array is written and read there, chunk by chunk."""

    def zarr_store(self, blob: str) -> Store:
        """Return the Zarr store of a blob: writable if it is new. CorruptRecord when it is gone."""


class Blobs(BlobWriter, BlobReader, Protocol):
    """The blobs of one record while it is saved or loaded."""

    def listed(self) -> list[BlobEntry]:
        """Return the new blobs with their sizes in bytes."""

    def discard(self) -> None:
        """Delete the new blobs: their record was not published."""


class Transport(Protocol):
    """Bytes in folders. Trouble is raised as StorageError, with the path or address in the message."""

    fold: bool
    """Whether names that differ only by case are one name here."""

    def make_folder(self, folder: str) -> None:
        """Make a folder, unless it is there."""

    def folders(self) -> list[str]:
        """Return all folders."""

    def remove_folder(self, folder: str) -> bool:
        """Remove a folder in one visible step; whether there was one."""

    def stems(self, folder: str, prefix: str = "") -> list[str]:
        """Return the stems in a folder; those that do not start with ``prefix`` may be left out."""

    def exists(self, folder: str, stem: str) -> bool:
        """Whether there is a record."""

    def location(self, folder: str, stem: str) -> str:
        """Return where a record is, for messages."""

    def tail(self, folder: str, stem: str, length: int) -> tuple[bytes, int]:
        """Return the last bytes of a record, and its size. Absent."""

    def whole(self, folder: str, stem: str) -> memoryview:
        """Return all bytes of a record, writable and private to the caller. Absent."""

    def publish(
        self,
        folder: str,
        stem: str,
        fill: Callable[[Sink, Blobs], T],
        *,
        may_replace: Callable[[], bool],
        create: bool,
    ) -> T:
        """Make what ``fill`` writes the record, in one visible step, and return what it returned.

        ``may_replace`` is called before a record is replaced, and may be when there is none; if it says no,
        RecordExists. With ``create`` that holds for a record of another writer that comes in at any time; without,
        the last writer wins. When anything fails, the new blobs are gone and the old record is untouched.
        """

    def remove(self, folder: str, stem: str) -> None:
        """Remove a record that was there a moment ago. Absent, if this can be told without another look."""

    def blobs(self, folder: str) -> Blobs:
        """Return access to the blobs of a folder."""

    def content(self, folder: str, blob: str) -> memoryview:
        """Return all bytes of a blob, writable and private to the caller. CorruptRecord when it is gone."""

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        """Return the blobs in a folder, with seconds since each was last written."""

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        """Delete blobs; those that are gone already do not matter."""

    def is_writing(self, folder: str) -> bool:
        """Whether somebody may be in the middle of a save into this folder."""

    def sweep(self, folder: str, grace: float) -> list[str]:
        """Delete what dead writers left that is older than ``grace`` seconds, and return its names."""
