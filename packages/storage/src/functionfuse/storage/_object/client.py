"""What a store needs of an object store: conditional writes, reads of ranges, listings and multipart uploads.

Another object store is a class with the methods of `ObjectClient` and a store class with its settings, as in `_s3`.
A client raises `Absent` for an object that does not exist, the exceptions below, and StorageError for all else. The
messages say what failed and at which address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from functionfuse.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class PreconditionFailed(Exception):  # noqa: N818
    """The condition of a write does not hold."""


class VersionChanged(Exception):  # noqa: N818
    """The object is not of the wanted version any more."""


class UploadMissing(Exception):  # noqa: N818
    """The multipart upload does not exist any more; only a new one helps."""


class ConditionUnsupported(StorageError):  # noqa: N818
    """The server refuses a write because it does not know the condition."""


class WriteConflict(StorageError):  # noqa: N818
    """Another write to the same key was under way; a retry may succeed."""


class OutcomeUnknown(StorageError):  # noqa: N818
    """A write got no response: the object may yet become visible."""


class ReadInterrupted(StorageError):  # noqa: N818
    """The content of an object ended early; a retry may succeed."""


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """An object without its content."""

    version: str
    """Differs between any two contents of a key."""
    mark: str
    """As given to `put` or `start_upload`; empty when there was none."""


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object in a listing."""

    key: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch."""
    version: str
    """As `ObjectHead.version`; for objects that were written with one `put`, equal for equal content."""


@dataclass(frozen=True, slots=True)
class UploadEntry:
    """An unfinished multipart upload in a listing."""

    key: str
    upload: str
    started: float
    """Seconds since the epoch."""


class ObjectContent(Protocol):
    """A range of an object that is being read."""

    size: int
    """Bytes of the whole object."""
    version: str

    def read(self) -> bytes:
        """Return the bytes of the range.

        Raises:
            ReadInterrupted: they ended early.
        """

    def read_into(self, view: memoryview) -> None:
        """Fill a view from the current position, and return how many bytes there were."""


class ObjectClient(Protocol):
    """An object store as one process sees it.

    A client can be compared and hashed, and pickled for other processes, which find its credentials anew. Methods
    are called from several threads at a time.
    """

    @property
    def workers(self) -> int:
        """Parts, or ranges, of one object that are transferred at the same time."""

    @property
    def retry_seconds(self) -> float:
        """How long reads that are interrupted are retried."""

    def address(self, key: str) -> str:
        """Return the address of an object, for messages."""

    def probing(self) -> ObjectClient:
        """Return a client for the first requests, which gives up soon where there is no server.

        Its messages say that a store could not be opened.
        """

    # One object

    def head(self, key: str) -> ObjectHead | None:
        """Return an object without its content; None when it does not exist."""

    def get(self, key: str, start: int = 0, end: int | None = None, *, version: str = "") -> ObjectContent:
        """Return an object, or a range of its bytes.

        Args:
            key: of the object.
            start: the first byte; a negative number means as many of the last bytes, without `end`.
            end: one behind the last byte; None, and any end behind that of the object, mean all to its end.
            version: which must be that of the object.

        Returns:
            The content, not read yet; of an object without content, an empty range.

        Raises:
            Absent: there is no such object.
            VersionChanged: it has another version.
            ReadInterrupted: the connection was lost.
        """

    def put(
        self,
        key: str,
        body: bytes | bytearray,
        *,
        mark: str = "",
        if_absent: bool = False,
        if_version: str = "",
    ) -> None:
        """Write an object atomically.

        Args:
            key: of the object.
            body: the content.
            mark: text that `head` returns.
            if_absent: only where no object exists.
            if_version: only where the object has this version.

        Raises:
            PreconditionFailed: the condition does not hold.
            ConditionUnsupported: the server refuses conditions.
            WriteConflict: another write was under way.
            OutcomeUnknown: no response arrived.
        """

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""

    def upload_file(self, path: Path, key: str) -> None:
        """Write an object with the content of a file of any size.

        Args:
            path: of the file.
            key: of the object.
        """

    def download_file(self, key: str, path: Path) -> None:
        """Write a file with the content of an object of any size.

        Args:
            key: of the object.
            path: of the file.

        Raises:
            Absent: there is no such object.
            ReadInterrupted: the connection was lost.
        """

    # Many objects

    def list_objects(self, prefix: str, *, nested: bool = True, page: int = 1000) -> Iterator[ObjectEntry]:
        """Yield the objects whose keys start with a prefix, in the order of keys.

        Args:
            prefix: what keys start with.
            nested: also those whose keys have a slash behind the prefix.
            page: how many the caller expects to look at; more are listed on demand.
        """

    def list_folders(self, prefix: str) -> list[str]:
        """Return what stands between a prefix and the next slash in keys; folders without objects may be listed."""

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error."""

    # Multipart uploads

    def start_upload(self, key: str, mark: str) -> str:
        """Return the id of a new multipart upload.

        Args:
            key: of the object that it makes.
            mark: text that `head` of the object returns.
        """

    def send_part(self, key: str, upload: str, number: int, body: bytes | bytearray | memoryview) -> Any:
        """Send a part of an upload, and return what `complete_upload` needs to know of it.

        Args:
            key: of the object.
            upload: id of the upload.
            number: of the part, from 1.
            body: the content.

        Raises:
            UploadMissing: the upload does not exist any more.
        """

    def complete_upload(self, key: str, upload: str, parts: list[Any]) -> None:
        """Make the object of an upload visible atomically.

        Args:
            key: of the object.
            upload: id of the upload.
            parts: what `send_part` returned, by number.

        Raises:
            UploadMissing: the upload does not exist any more, maybe because an earlier response was lost.
            OutcomeUnknown: no response arrived.
        """

    def abort_upload(self, key: str, upload: str) -> None:
        """Delete the parts of an upload; one that does not exist any more is no error.

        Args:
            key: of the object.
            upload: id of the upload.
        """

    def list_uploads(self, prefix: str) -> Iterator[UploadEntry]:
        """Yield the unfinished uploads to keys that start with a prefix."""
