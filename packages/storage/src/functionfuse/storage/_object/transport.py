"""Records and blobs as objects of a bucket.

::

    <prefix>/ffstore.json
    <prefix>/<workflow>/.workflow                   says that there is a workflow, also without results
    <prefix>/<workflow>/<task>.ffr
    <prefix>/<workflow>/.tmp/<uuid>-<host>-<pid>    a save that has blobs on the way
    <prefix>/<workflow>/.big/<uuid><suffix>         blobs; without suffix, the content of a large record

A record becomes visible in one step, by its PUT or by the end of its multipart upload.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from functionfuse.errors import CorruptRecord, StorageError

from .._file.drafts import is_live, is_stale
from .._s3.client import asking, client, is_absent
from .._store.transport import Absent
from .blobs import S3Blobs
from .download import read_end, read_whole
from .multipart import Restart
from .objects import (
    delete,
    delete_keys,
    folders_below,
    head,
    keys_below,
    objects_below,
    put,
    stale_uploads,
)
from .publication import BLOBS, DRAFTS, Publication
from .root import open_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._s3.settings import S3Settings
    from .._store.transport import Blobs, Sink

T = TypeVar("T")

SUFFIX = ".ffr"
_PLACE = ".workflow"
_TRIES = 5
_GLANCE = 10  # names that tell whether a folder is empty


class S3Transport:
    """A prefix in a bucket; see :class:`functionfuse.storage._store.transport.Transport` for what methods do."""

    fold = False

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.conditional = open_root(settings)

    # Folders

    def make_folder(self, folder: str) -> None:
        """Make a folder, unless it is there."""
        put(self.settings, f"{self._folder(folder)}{_PLACE}", bytearray())

    def folders(self) -> list[str]:
        """Return all folders that hold something; of empty ones, some servers keep the name."""
        found = [name for name in folders_below(self.settings, self.settings.prefix) if not name.startswith(".")]
        with ThreadPoolExecutor(self.settings.workers) as pool:
            return [name for name, is_there in zip(found, pool.map(self._is_there, found), strict=True) if is_there]

    def remove_folder(self, folder: str) -> bool:
        """Remove a folder, first what makes it seen; whether there was one."""
        was_there = self._is_there(folder)
        prefix = self._folder(folder)
        keys = [entry["Key"] for entry in objects_below(self.settings, prefix)]
        seen = [key for key in keys if not key.startswith((f"{prefix}{BLOBS}", f"{prefix}{DRAFTS}"))]
        delete_keys(self.settings, seen)
        delete_keys(self.settings, set(keys).difference(seen))
        return was_there

    # Records

    def stems(self, folder: str, prefix: str = "") -> list[str]:
        """Return the stems in a folder."""
        start = len(self._folder(folder))
        keys = keys_below(self.settings, f"{self._folder(folder)}{prefix}")
        return [key[start : -len(SUFFIX)] for key in keys if key.endswith(SUFFIX)]

    def exists(self, folder: str, stem: str) -> bool:
        """Whether there is a record."""
        return head(self.settings, self._key(folder, stem)) is not None

    def place(self, folder: str, stem: str) -> str:
        """Return the address of a record."""
        return self.settings.address(self._key(folder, stem))

    def tail(self, folder: str, stem: str, length: int) -> tuple[bytes, int]:
        """Return the last bytes of a record, and its size. Absent."""
        return read_end(self.settings, self._key(folder, stem), length)

    def whole(self, folder: str, stem: str) -> memoryview:
        """Return all bytes of a record, writable and private to the caller. Absent."""
        return read_whole(self.settings, self._key(folder, stem))

    def publish(
        self,
        folder: str,
        stem: str,
        fill: Callable[[Sink, Blobs], T],
        *,
        may_replace: Callable[[], bool],
        create: bool,
    ) -> T:
        """Make what ``fill`` writes the record, in one visible step."""
        key = self._key(folder, stem)
        if create and not self.conditional:
            raise StorageError(
                f"cannot create {self.settings.address(key)!r}: this server ignores If-None-Match, so that two "
                "writers could both win; save without create=True"
            )
        for _ in range(_TRIES):
            publication = Publication(
                self.settings,
                self._folder(folder),
                key,
                blobs=self.blobs(folder),
                conditional=self.conditional,
                may_replace=may_replace,
                create=create,
            )
            with suppress(Restart):
                return publication.run(fill)
        raise StorageError(f"cannot write {self.settings.address(key)!r}: gc with a short grace keeps interfering")

    def remove(self, folder: str, stem: str) -> None:
        """Remove a record."""
        delete(self.settings, self._key(folder, stem))

    # Blobs and leftovers

    def blobs(self, folder: str) -> S3Blobs:
        """Return access to the blobs of a folder."""
        return S3Blobs(self.settings, f"{self._folder(folder)}{BLOBS}")

    def content(self, folder: str, blob: str) -> memoryview:
        """Return all bytes of a blob, writable and private to the caller. CorruptRecord when it is gone."""
        key = f"{self._folder(folder)}{BLOBS}{blob}"
        try:
            return read_whole(self.settings, key)
        except Absent:
            raise CorruptRecord(f"blob {self.settings.address(key)!r} is missing") from None

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        """Return the blobs in a folder, with seconds since each was last written."""
        ages: dict[str, float] = {}
        for name, age in self._ages(folder, BLOBS):
            blob = name.partition("/")[0]
            ages[blob] = min(age, ages.get(blob, age))
        return list(ages.items())

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        """Delete blobs; those that are gone already do not matter."""
        with suppress(StorageError):  # what stays is unreferenced: garbage for gc, never wrong
            self.blobs(folder).remove(list(blobs))

    def is_writing(self, folder: str) -> bool:
        """Whether somebody may be in the middle of a save into this folder."""
        return any(is_live(name, age) for name, age in self._ages(folder, DRAFTS))

    def sweep(self, folder: str, grace: float) -> list[str]:
        """Delete the unfinished uploads and drafts of dead writers."""
        start = self._folder(folder)
        swept = []
        for key, upload in stale_uploads(self.settings, start, grace):
            with asking("abort the upload of", self.settings, key):
                try:
                    client(self.settings).abort_multipart_upload(Bucket=self.settings.bucket, Key=key, UploadId=upload)
                except Exception as error:
                    if not is_absent(error):  # it has just ended
                        raise
            swept.append(key[len(start) :])
        drafts = [name for name, age in self._ages(folder, DRAFTS) if is_stale(name, age, grace)]
        delete_keys(self.settings, [f"{start}{DRAFTS}{name}" for name in drafts])
        return swept + drafts

    # How

    def _folder(self, folder: str) -> str:
        return f"{self.settings.prefix}{folder}/"

    def _key(self, folder: str, stem: str) -> str:
        return f"{self.settings.prefix}{folder}/{stem}{SUFFIX}"

    def _is_there(self, folder: str) -> bool:
        keys = keys_below(self.settings, self._folder(folder), page=_GLANCE)
        return any(key.endswith((SUFFIX, f"/{_PLACE}")) for key in keys)

    def _ages(self, folder: str, kind: str) -> list[tuple[str, float]]:
        start = f"{self._folder(folder)}{kind}"
        now = time.time()
        found: list[dict[str, Any]] = list(objects_below(self.settings, start))
        return [(one["Key"][len(start) :], max(0.0, now - one["LastModified"].timestamp())) for one in found]
