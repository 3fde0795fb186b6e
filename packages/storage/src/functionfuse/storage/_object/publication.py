"""One save into an object store, from the first byte to the atomic commit.

A small record is one conditional write, which finds out whether there is something to replace. A large one is a
multipart upload. Not all servers know conditions of uploads: with `create` large content goes into a blob, and a
small record, which is written with a condition and refers to the blob, decides which writer wins.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from functionfuse.errors import StorageError

from .._store.drafts import new_draft_name
from .._store.layout import BLOBS, DRAFTS, new_blob_id
from .._store.transport import Blobs, RecordExists, Sink
from .client import OutcomeUnknown, PreconditionFailed, UploadMissing
from .multipart import MultipartUpload
from .sink import ObjectSink
from .writes import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from .blobs import ObjectBlobs
    from .client import ObjectClient

T = TypeVar("T")

_ABSENT = {"if_absent": True}
_TRIES = 5


class Publication:
    """Makes a record visible atomically, or leaves everything as it was.

    Args:
        client: of the object store.
        folder: what the keys of the workflow start with.
        key: of the record.
        blobs: new ones of the record.
        conditional: whether the server honours conditional writes.
        may_replace: see `Transport.publish`.
        create: see there.
    """

    def __init__(
        self,
        client: ObjectClient,
        folder: str,
        key: str,
        *,
        blobs: ObjectBlobs,
        conditional: bool,
        may_replace: Callable[[], bool],
        create: bool,
    ) -> None:
        self._client = client
        self._folder = folder
        self._key = key
        self._blobs = blobs
        blobs.announce = self._make_draft
        self._may_replace = may_replace
        self._create = create
        self._condition: dict[str, Any] = _ABSENT if conditional else {}
        self._sink = ObjectSink(self._start_large, apart=create)
        self._draft = ""  # key of an object whose existence keeps gc from taking the blobs of this save
        self._content = ""  # key of the blob that large content goes into

    def run(self, fill: Callable[[Sink, Blobs], T]) -> T:
        """Save what `fill` writes, and return what it returns.

        Raises:
            RecordExists: `may_replace` says no.
            UploadMissing: the upload does not exist any more, for gc took it; another try may succeed.
            OutcomeUnknown: no response arrived, and the record may yet become visible.
            StorageError: the save failed.
        """
        try:
            try:
                if not self._condition:
                    self._check_replace()
                result = fill(self._sink, self._blobs)
                self._blobs.upload()
                self._sink.flush()
            except BaseException:
                self._sink.abort()
                self._discard()
                raise
            self._commit()
            return result
        finally:
            self._blobs.forget()
            if self._draft:
                with suppress(StorageError):  # gc takes it
                    self._client.delete(self._draft)

    @property
    def small(self) -> bytearray:
        """The record, if it was one write; empty otherwise."""
        return bytearray() if self._sink.multipart else self._sink.pending

    def _start_large(self) -> MultipartUpload:
        if self._condition:
            self._check_replace()  # before much is sent in vain
        if not self._create:
            return MultipartUpload(self._client, self._key)
        self._make_draft()
        self._content = f"{self._folder}{BLOBS}/{new_blob_id()}"
        return MultipartUpload(self._client, self._content)

    def _check_replace(self) -> None:
        if not self._may_replace():
            raise RecordExists
        if not self._create:
            self._condition = {}

    def _make_draft(self) -> None:
        """Tell gc of this save; it lists blobs first, and drafts after them."""
        if not self._draft:
            self._draft = f"{self._folder}{DRAFTS}/{new_draft_name()}"
            put(self._client, self._draft, bytearray())

    def _commit(self) -> None:
        """Make the record visible. When this is interrupted, it may be, and all it refers to must stay."""
        try:
            if self._sink.multipart:
                self._sink.multipart.complete()
            else:
                self._put_record()
        except OutcomeUnknown:
            raise
        except (StorageError, RecordExists, UploadMissing):
            self._sink.abort()
            self._discard()
            raise

    def _put_record(self) -> None:
        mark = uuid.uuid4().hex
        for _ in range(_TRIES):
            try:
                put(self._client, self._key, self._sink.pending, mark=mark, **self._condition)
            except PreconditionFailed:
                found = self._client.head(self._key) if self._create else None
                if found and found.mark == mark:
                    return  # by the first try of this very write, whose response got lost
                self._check_replace()
                if found:  # it may be replaced, but not what is written meanwhile
                    self._condition = {"if_version": found.version}
                elif self._create:
                    self._condition = _ABSENT
            else:
                return
        raise StorageError(f"cannot write {self._client.address(self._key)!r}: other writers keep replacing it")

    def _discard(self) -> None:
        self._blobs.discard()
        if self._content:
            with suppress(StorageError):  # what stays is unreferenced: garbage for gc
                self._client.delete(self._content)
