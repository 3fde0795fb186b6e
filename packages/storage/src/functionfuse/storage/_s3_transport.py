"""Records and blobs as objects of a bucket.

::

    <prefix>/ffstore.json
    <prefix>/<workflow>/.workflow                   says that there is a workflow, also without results
    <prefix>/<workflow>/<task>.ffr
    <prefix>/<workflow>/.tmp/<uuid>-<host>-<pid>    a save that has blobs on the way
    <prefix>/<workflow>/.big/<uuid><suffix>         blobs

A record becomes visible in one step, by its PUT or by the end of its multipart upload.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from functionfuse.errors import StorageError
from functionfuse.storage._file_writers import draft_name, is_live, is_stale
from functionfuse.storage._s3_blobs import S3Blobs
from functionfuse.storage._s3_client import asking, client, is_absent
from functionfuse.storage._s3_download import read_end, read_whole
from functionfuse.storage._s3_objects import delete_keys, folders_below, keys_below, objects_below, stale_uploads
from functionfuse.storage._s3_root import open_root
from functionfuse.storage._s3_upload import Overtaken, Restart, Unsure, Upload
from functionfuse.storage._transport import Absent, Blobs, Sink, Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from functionfuse.storage._s3_settings import S3Settings

T = TypeVar("T")

SUFFIX = ".ffr"
_PLACE, _DRAFTS, _BLOBS = ".workflow", ".tmp/", ".big/"
_TRIES = 5
_GLANCE = 10  # names that tell whether a folder is empty


class S3Transport:
    """A prefix in a bucket; see :class:`functionfuse.storage._transport.Transport` for what methods do."""

    fold = False

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.conditional = open_root(settings)

    # Folders

    def make_folder(self, folder: str) -> None:
        """Make a folder, unless it is there."""
        self._put(f"{self._folder(folder)}{_PLACE}")

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
        seen = [key for key in keys if not key.startswith((f"{prefix}{_BLOBS}", f"{prefix}{_DRAFTS}"))]
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
        return self._version(self._key(folder, stem)) is not None

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
        keep: Callable[[], bool] | None = None,
    ) -> T:
        """Make what ``fill`` writes the record, in one visible step."""
        key = self._key(folder, stem)
        if keep is not None and not self.conditional:
            raise StorageError(
                f"cannot create {self.settings.address(key)!r}: this server ignores If-None-Match, so that two "
                "writers could both win; save without create=True"
            )
        condition = {} if keep is None else {"IfNoneMatch": "*"}
        for _ in range(_TRIES):
            try:
                return self._publish_once(folder, key, fill, condition)
            except Restart:
                continue
            except Overtaken:
                version = self._version(key)
                if keep is None or keep():
                    raise Taken from None
                # Only the very object that was found damaged may be replaced.
                condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        raise StorageError(f"cannot write {self.settings.address(key)!r}: other writers, or gc, keep interfering")

    def remove(self, folder: str, stem: str) -> None:
        """Remove a record. Absent."""
        key = self._key(folder, stem)
        if self._version(key) is None:
            raise Absent
        self._delete(key)

    # Blobs and leftovers

    def blobs(self, folder: str, announce: Callable[[], None] = lambda: None) -> S3Blobs:
        """Return access to the blobs of a folder."""
        return S3Blobs(self.settings, f"{self._folder(folder)}{_BLOBS}", announce)

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        """Return the blobs in a folder, with seconds since each was last written."""
        ages: dict[str, float] = {}
        for name, age in self._ages(folder, _BLOBS):
            blob = name.partition("/")[0]
            ages[blob] = min(age, ages.get(blob, age))
        return list(ages.items())

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        """Delete blobs; those that are gone already do not matter."""
        with suppress(StorageError):  # what stays is unreferenced: garbage for gc, never wrong
            self.blobs(folder).remove(list(blobs))

    def is_writing(self, folder: str) -> bool:
        """Whether somebody may be in the middle of a save into this folder."""
        return any(is_live(name, age) for name, age in self._ages(folder, _DRAFTS))

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
        drafts = [name for name, age in self._ages(folder, _DRAFTS) if is_stale(name, age, grace)]
        delete_keys(self.settings, [f"{start}{_DRAFTS}{name}" for name in drafts])
        return swept + drafts

    # How

    def _folder(self, folder: str) -> str:
        return f"{self.settings.prefix}{folder}/"

    def _key(self, folder: str, stem: str) -> str:
        return f"{self.settings.prefix}{folder}/{stem}{SUFFIX}"

    def _is_there(self, folder: str) -> bool:
        keys = keys_below(self.settings, self._folder(folder), page=_GLANCE)
        return any(key.endswith((SUFFIX, f"/{_PLACE}")) for key in keys)

    def _publish_once(self, folder: str, key: str, fill: Callable[[Sink, Blobs], T], condition: dict[str, str]) -> T:
        draft = f"{self._folder(folder)}{_DRAFTS}{draft_name()}"
        blobs = self.blobs(folder, lambda: self._put(draft))  # gc lists blobs first, and then asks who is writing
        upload = Upload(self.settings, key, condition)
        try:
            result = fill(upload, blobs)
            blobs.upload()
            upload.finish()
        except BaseException as error:
            upload.abort()
            if not isinstance(error, Unsure):  # else the record may be there, and refer to its blobs
                blobs.discard()
            raise
        finally:
            upload.close()
            if not blobs.is_empty:
                blobs.forget()
                with suppress(StorageError):  # gc takes it
                    self._delete(draft)
        return result

    def _version(self, key: str) -> str | None:
        """Return the ETag of an object, or None when there is none."""
        with asking("read", self.settings, key):
            try:
                answer = client(self.settings).head_object(Bucket=self.settings.bucket, Key=key)
            except Exception as error:
                if is_absent(error):
                    return None
                raise
        return str(answer["ETag"])

    def _put(self, key: str) -> None:
        with asking("write", self.settings, key):
            client(self.settings).put_object(Bucket=self.settings.bucket, Key=key, Body=b"")

    def _delete(self, key: str) -> None:
        with asking("remove", self.settings, key):
            client(self.settings).delete_object(Bucket=self.settings.bucket, Key=key)

    def _ages(self, folder: str, kind: str) -> list[tuple[str, float]]:
        start = f"{self._folder(folder)}{kind}"
        now = time.time()
        found: list[dict[str, Any]] = list(objects_below(self.settings, start))
        return [(one["Key"][len(start) :], max(0.0, now - one["LastModified"].timestamp())) for one in found]
