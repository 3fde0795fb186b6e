"""What a store needs of the place where its bytes are: folders of records, and blobs beside them.

A folder is an encoded workflow name, a stem an encoded task name. All that is about names, records and
rules lives in the engine, once; a transport moves bytes and makes them visible in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarr.abc.store import Store

    from functionfuse.storage._format import BlobEntry

T = TypeVar("T")


class Absent(Exception):  # noqa: N818
    """There is no such record; the engine turns this into a TaskNotFound that helps."""


class Taken(Exception):  # noqa: N818
    """A valid record was there first."""


class Sink(Protocol):
    """Where the bytes of one record go."""

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append."""

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        """Append, and return the crc32 of every ``block`` bytes."""


class BlobWriter(Protocol):
    """Places for data that a serializer keeps outside of the record."""

    kind: str
    """``"file"`` when ``new`` and ``path`` give paths of files."""

    def new(self, suffix: str) -> tuple[str, str]:
        """Return the id and the path of a new blob, which the caller then writes."""


class BlobReader(Protocol):
    """Finds the blobs that a record refers to."""

    kind: str
    maps: bool
    """Whether files that ``path`` gives may be mapped."""

    def path(self, blob: str) -> str:
        """Return the path of a blob. CorruptRecord when it is gone."""


@runtime_checkable
class ZarrBlobs(Protocol):
    """Blobs of a place that keeps objects: a Zarr array is written and read there, chunk by chunk."""

    def zarr_store(self, blob: str) -> Store:
        """Return the Zarr store of a blob: writable if it is new. CorruptRecord when it is gone."""


class Blobs(BlobWriter, BlobReader, Protocol):
    """The blobs of one record while it is saved or loaded."""

    def size(self, blob: str) -> int:
        """Return the bytes in a blob. CorruptRecord when it is gone."""

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

    def place(self, folder: str, stem: str) -> str:
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
        keep: Callable[[], bool] | None = None,
    ) -> T:
        """Make what ``fill`` writes the record, in one visible step, and return what it returned.

        With ``keep``, an existing record is replaced only if ``keep()`` says that it is not worth keeping;
        else Taken. When anything fails, the new blobs are gone and the old record is untouched.
        """

    def remove(self, folder: str, stem: str) -> None:
        """Remove a record. Absent."""

    def blobs(self, folder: str) -> Blobs:
        """Return access to the blobs of a folder."""

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        """Return the blobs in a folder, with seconds since each was last written."""

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        """Delete blobs; those that are gone already do not matter."""

    def is_writing(self, folder: str) -> bool:
        """Whether somebody may be in the middle of a save into this folder."""

    def sweep(self, folder: str, grace: float) -> list[str]:
        """Delete what dead writers left that is older than ``grace`` seconds, and return its names."""
