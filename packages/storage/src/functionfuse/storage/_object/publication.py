"""One save into a bucket, from the first byte to the one visible step.

A small record is one PUT; with ``If-None-Match: *`` it finds out whether there is something to replace. A large
one is a multipart upload. Only for PUT do all servers decide conditions one by one, so that of many writers one
wins: what is large and must win goes into a blob, and a small record refers to it.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from functionfuse.errors import StorageError

from .._file.drafts import draft_name
from .._store.transport import Blobs, Sink, Taken
from .multipart import Multipart, Restart
from .objects import MARK, Overtaken, Unsure, delete, head, put
from .sink import Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._s3.settings import S3Settings
    from .blobs import S3Blobs

T = TypeVar("T")

DRAFTS, BLOBS = ".tmp/", ".big/"
_ABSENT = {"IfNoneMatch": "*"}
_TRIES = 5


class Publication:
    """Makes a record visible in one step, or leaves everything as it was.

    Args:
        settings: of the store.
        folder: what the keys of the workflow start with.
        key: of the record.
        blobs: new ones of the record.
        conditional: whether the server honours conditions of PUT.
        may_replace: see :class:`functionfuse.storage._store.transport.Transport`.
        create: see there.
    """

    def __init__(
        self,
        settings: S3Settings,
        folder: str,
        key: str,
        *,
        blobs: S3Blobs,
        conditional: bool,
        may_replace: Callable[[], bool],
        create: bool,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._key = key
        self._blobs = blobs
        blobs.announce = self._announce
        self._may_replace = may_replace
        self._create = create
        self._condition = _ABSENT if conditional else {}
        self._upload = Upload(self._start_large, apart=create)
        self._draft = ""  # key of an object that tells gc, while it is there, that somebody is writing
        self._content = ""  # key of the blob that large content goes into

    def run(self, fill: Callable[[Sink, Blobs], T]) -> T:
        """Save what ``fill`` writes, and return what it returns. Taken, Restart, Unsure, StorageError."""
        try:
            try:
                if not self._condition:
                    self._ask()
                result = fill(self._upload, self._blobs)
                self._blobs.upload()
                self._upload.flush()
            except BaseException:
                self._upload.abort()
                self._discard()
                raise
            self._show()
            return result
        finally:
            self._blobs.forget()
            if self._draft:
                with suppress(StorageError):  # gc takes it
                    delete(self._settings, self._draft)

    def _start_large(self) -> Multipart:
        if self._condition:
            self._ask()  # before much is sent in vain, and because not all servers know conditions of uploads
        if not self._create:
            return Multipart(self._settings, self._key)
        self._announce()
        self._content = f"{self._folder}{BLOBS}{uuid.uuid4().hex}"
        return Multipart(self._settings, self._content)

    def _ask(self) -> None:
        if not self._may_replace():
            raise Taken
        if not self._create:
            self._condition = {}

    def _announce(self) -> None:
        """Gc lists blobs first, and then asks who is writing."""
        if not self._draft:
            self._draft = f"{self._folder}{DRAFTS}{draft_name()}"
            put(self._settings, self._draft, bytearray())

    def _show(self) -> None:
        """The one visible step. When it is interrupted, the record may be there, and all it refers to must stay."""
        try:
            if self._upload.multipart:
                self._upload.multipart.complete()
            else:
                self._put_record()
        except Unsure:
            raise
        except (StorageError, Taken, Restart):
            self._upload.abort()
            self._discard()
            raise

    def _put_record(self) -> None:
        mark = uuid.uuid4().hex
        for _ in range(_TRIES):
            try:
                put(self._settings, self._key, self._upload.pending, mark=mark, **self._condition)
            except Overtaken:
                found = head(self._settings, self._key) if self._create else None
                if found and found["Metadata"].get(MARK) == mark:
                    return  # by our own first try, whose answer got lost
                self._ask()
                if found:  # it is not worth keeping, but what comes in its place may be
                    self._condition = {"IfMatch": found["ETag"]}
                elif self._create:
                    self._condition = _ABSENT
            else:
                return
        raise StorageError(f"cannot write {self._settings.address(self._key)!r}: other writers keep replacing it")

    def _discard(self) -> None:
        self._blobs.discard()
        if self._content:
            with suppress(StorageError):  # what stays is unreferenced: garbage for gc
                delete(self._settings, self._content)
