"""What a store needs of the system that keeps its bytes: folders of records, and blobs beside them.

A folder is an encoded workflow name, a stem an encoded task name. All that is about names, records and rules stands
in `RecordStore`, once; a transport moves bytes and makes them visible atomically.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Set

    from zarr.abc.store import Store

    from .._record.format import BlobEntry

T = TypeVar("T")


class Absent(Exception):  # noqa: N818
    """There is no such record; a store turns this into TaskNotFound."""


class RecordExists(Exception):  # noqa: N818
    """There is a valid record, of another writer."""


@dataclass
class Link:
    """A second name that a record gets as it is published, where that costs no copy of much content."""

    folder: str
    stem: str
    is_made: bool = False
    """Whether the record has got it."""


class Use(NamedTuple):
    """What a listing tells of a record: which one it is, and when it was last used."""

    identity: Hashable
    """As in `Transport.identities`, of all records of a folder."""
    size: int
    """Bytes."""
    used: float
    """When it was last written or read, in seconds since the epoch; in a bucket, written."""


class Sink(Protocol):
    """Where the bytes of one record go."""

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append."""

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        """Append, and return the crc32 of each block.

        Args:
            data: the bytes.
            block: bytes under one checksum.
        """

    def end_content(self) -> str | None:
        """Return the id of the blob that all content went into, or None when the footer is to follow it."""


class BlobWriter(Protocol):
    """Makes blobs for data that a serializer keeps outside of the record."""

    kind: str
    """`"file"` when `new` and `path` give paths of files."""

    def new(self, suffix: str) -> tuple[str, str]:
        """Return the id and the path of a new blob, which the caller then writes."""


class RangeReader(Protocol):
    """A blob that can be sent to other processes and read there, in parts."""

    location: str
    """Where it is, for messages."""

    def read(self, offset: int, length: int) -> bytes | bytearray | memoryview:
        """Return bytes, read-only.

        Args:
            offset: of the first byte.
            length: how many bytes.

        Raises:
            CorruptRecord: the blob ends before, or is missing.
        """


class BlobReader(Protocol):
    """Finds the blobs that a record refers to."""

    kind: str

    def path(self, blob: str) -> str:
        """Return the path of a blob.

        Raises:
            CorruptRecord: it is missing.
        """

    def file(self, blob: str) -> RangeReader:
        """Return a blob as a file to read parts of, later and in other processes too.

        Raises:
            CorruptRecord: it is missing.
        """

    def size(self, blob: str) -> int:
        """Return the bytes in a blob.

        Raises:
            CorruptRecord: it is missing.
        """


@runtime_checkable
class ZarrBlobs(Protocol):
    """Blobs that are objects: a Zarr array is written and read there, chunk by chunk."""

    def zarr_store(self, blob: str) -> Store:
        """Return the Zarr store of a blob, which is writable if the blob is new.

        Raises:
            CorruptRecord: it is missing.
        """


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
        """Remove a folder; return True if it existed."""

    def stems(self, folder: str, prefix: str = "") -> list[str]:
        """Return the stems in a folder; those that do not start with `prefix` may be left out.

        Args:
            folder: encoded name of the workflow.
            prefix: of the wanted stems; others may be returned too.
        """

    def present(self, folder: str, stems: Collection[str]) -> Set[str]:
        """Return those of some stems that there are records of.

        Args:
            folder: encoded name of the workflow.
            stems: encoded names of tasks.
        """

    def identities(self, folder: str, stems: Iterable[str] | None = None) -> Mapping[str, Hashable]:
        """Return by stem what tells records apart: equal only for records with the same bytes.

        Args:
            folder: encoded name of the workflow.
            stems: of the few records that are asked for; without it, of all, with one listing. What was returned for
                some is not to be compared with what was returned for all.
        """

    def uses(self, folder: str) -> Mapping[str, Use]:
        """Return by stem what a listing tells of the records in a folder."""

    def mark_used(self, folder: str, stem: str) -> bool:
        """Note that a record is used now, so that `remove_unused` leaves it; return False if there is none.

        Without effect in a bucket, where a new reference to the record does that.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
        """

    def remove_unused(self, folder: str, uses: Mapping[str, Use]) -> Set[str]:
        """Remove records that nothing has used since they were listed, and return their stems.

        Args:
            folder: encoded name of the workflow.
            uses: what was listed of them, with the references to them (`<stem>@...`).
        """

    def location(self, folder: str, stem: str) -> str:
        """Return where a record is, for messages.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
        """

    def tail(self, folder: str, stem: str, length: int) -> tuple[bytes, int]:
        """Return the last bytes of a record, and its size.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
            length: how many bytes.

        Raises:
            Absent: there is no such record.
        """

    def whole(self, folder: str, stem: str) -> memoryview:
        """Return all bytes of a record, writable and private to the caller.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.

        Raises:
            Absent: there is no such record.
        """

    def publish(
        self,
        folder: str,
        stem: str,
        fill: Callable[[Sink, Blobs], T],
        *,
        may_replace: Callable[[], bool],
        create: bool,
        link: Link | None = None,
    ) -> T:
        """Make what `fill` writes the record atomically, and return what it returned.

        When anything fails, the new blobs are deleted and the old record is untouched.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
            fill: writes the record into a sink, and new blobs.
            may_replace: called before a record is replaced, and maybe when there is none; returns False to refuse.
            create: a record of another writer that becomes visible meanwhile is treated alike; else the last writer
                wins.
            link: a second name for the record; without `create`.

        Raises:
            RecordExists: `may_replace` returned False.
            StorageError: the record could not be written.
        """

    def link(self, folder: str, stem: str, link: Link) -> None:
        """Give a record a second name, in the place of another record, where that costs no copy.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.
            link: the second name.

        Raises:
            Absent: there is no such record; known only where it is linked.
        """

    def remove(self, folder: str, stem: str) -> None:
        """Remove a record, which existed a moment ago.

        Args:
            folder: encoded name of the workflow.
            stem: encoded name of the task.

        Raises:
            Absent: there is no such record, where this is known without another request.
        """

    def blobs(self, folder: str) -> Blobs:
        """Return access to the blobs of a folder."""

    def content(self, folder: str, blob: str) -> memoryview:
        """Return all bytes of a blob, writable and private to the caller.

        Args:
            folder: encoded name of the workflow.
            blob: id of the blob.

        Raises:
            CorruptRecord: it is missing.
        """

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        """Return the blobs in a folder, with seconds since each was last written."""

    def size_of_blobs(self, folder: str) -> int:
        """Return the bytes of all blobs in a folder."""

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        """Delete blobs; those that do not exist are no error.

        Args:
            folder: encoded name of the workflow.
            blobs: ids of the blobs.
        """

    def is_writing(self, folder: str) -> bool:
        """Return True if a save into this folder may be under way."""

    def sweep(self, folder: str, grace: float, *, dry_run: bool = False) -> list[str]:
        """Delete what writers that have ended left; return its names.

        Args:
            folder: encoded name of the workflow.
            grace: seconds that what unknown writers left is kept.
            dry_run: delete nothing.
        """
