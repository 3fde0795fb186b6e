"""Where a record goes on its way into an object: one PUT, or a multipart upload when it is large."""

from __future__ import annotations

import threading
import time
import uuid
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError
from functionfuse.storage._s3_client import asking, client, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.storage._s3_settings import S3Settings

PART = 16 << 20
_LARGER_EACH = 1000  # parts; there may be 10,000, and so a record of 800 GiB has room
_CONFLICTS = 5
_MARK = "ff-write"


class Overtaken(Exception):  # noqa: N818
    """The condition of a write did not hold: another writer was first."""


class Restart(Exception):  # noqa: N818
    """The upload is gone, or met a conflict that only a new one gets around."""


class Unsure(StorageError):  # noqa: N818
    """No answer came: the object may yet become visible."""


class Upload:
    """A sink. Parts are sent while the next ones are being made; at most ``workers`` are in flight."""

    def __init__(self, settings: S3Settings, key: str, condition: Mapping[str, str]) -> None:
        self._settings = settings
        self._key = key
        self._condition = dict(condition)
        self._client = client(settings)
        self._target = {"Bucket": settings.bucket, "Key": key}
        self._mark = uuid.uuid4().hex
        self._pending = bytearray()
        self._upload_id: str | None = None
        self._parts: list[Future[dict[str, Any]]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._slots = threading.BoundedSemaphore(settings.workers)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append."""
        view = memoryview(data).cast("B")
        while len(self._pending) + len(view) >= (size := self._part_size()):
            room = size - len(self._pending)
            self._send(b"".join((self._pending, view[:room])))
            self._pending = bytearray()
            view = view[room:]
        self._pending += view

    def write_blocks(self, data: memoryview, block: int) -> list[int]:
        """Append, and return the crc32 of every ``block`` bytes."""
        checksums = []
        step = max(block, PART // block * block)  # near to a part, so that little has to be kept for the next one
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            checksums += [zlib.crc32(piece[at : at + block]) for at in range(0, len(piece), block)]
            self.write(piece)
        return checksums

    def finish(self) -> None:
        """Make the object visible. Overtaken, Restart, Unsure, StorageError."""
        if self._upload_id is not None and self._pending:
            self._send(bytes(self._pending))
        with asking("write", self._settings, self._key):
            parts = [part.result() for part in self._parts]
        for attempt in range(_CONFLICTS):
            if self._shown(parts):
                return
            time.sleep(0.05 * 2**attempt)
        raise StorageError(f"cannot write {self._settings.address(self._key)!r}: other writers keep replacing it")

    def abort(self) -> None:
        """Give up: what was sent is deleted."""
        for part in self._parts:
            part.cancel()
        if self._pool:
            self._pool.shutdown(wait=True)
        if self._upload_id is not None:
            with suppress(Exception):  # what stays is an unfinished upload, which gc takes
                self._client.abort_multipart_upload(**self._target, UploadId=self._upload_id)

    def close(self) -> None:
        """End the threads."""
        if self._pool:
            self._pool.shutdown(wait=True)

    def _part_size(self) -> int:
        return PART * (1 + len(self._parts) // _LARGER_EACH)

    def _send(self, body: bytes) -> None:
        if self._upload_id is None:
            with asking("write", self._settings, self._key):
                answer = self._client.create_multipart_upload(**self._target, Metadata={_MARK: self._mark})
            self._upload_id = answer["UploadId"]
        self._pool = self._pool or ThreadPoolExecutor(self._settings.workers)
        self._slots.acquire()
        self._raise_failed()
        self._parts.append(self._pool.submit(self._send_part, len(self._parts) + 1, body))

    def _send_part(self, number: int, body: bytes) -> dict[str, Any]:
        try:
            answer = self._client.upload_part(**self._target, UploadId=self._upload_id, PartNumber=number, Body=body)
        except Exception as error:
            if status(error) == 404:
                raise Restart from error
            raise
        finally:
            self._slots.release()
        checksums = {name: answer[name] for name in answer if name.startswith("Checksum") and name != "ChecksumType"}
        return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

    def _raise_failed(self) -> None:
        """Stop before more is sent in vain."""
        with asking("write", self._settings, self._key):
            for part in self._parts:
                if part.done():
                    part.result()

    def _shown(self, parts: list[dict[str, Any]]) -> bool:
        """The one visible step. False when a conflict with another write is worth another try."""
        try:
            if self._upload_id is None:
                self._client.put_object(
                    **self._target, Body=bytes(self._pending), Metadata={_MARK: self._mark}, **self._condition
                )
            else:
                self._client.complete_multipart_upload(
                    **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": parts}, **self._condition
                )
        except Exception as error:
            return self._shown_nevertheless(error)
        return True

    def _shown_nevertheless(self, error: Exception) -> bool:
        """Find out whether a write that failed is visible: its answer may have got lost, or met a retry."""
        answer = status(error)
        if answer == 409:
            if self._upload_id is not None:
                raise Restart from error
            return False
        if answer in (0, 404, 412) or answer >= 500:
            if self._is_ours():
                return True
            if answer == 412:
                raise Overtaken from error
            if answer == 404 and self._upload_id is not None:
                raise Restart from error
        try:
            with asking("write", self._settings, self._key):
                raise error
        except StorageError as told:
            if answer == 0 or answer >= 500:
                raise Unsure(str(told)) from error
            raise

    def _is_ours(self) -> bool:
        with suppress(Exception):
            answer = self._client.head_object(**self._target)
            return bool(answer["Metadata"].get(_MARK) == self._mark)
        return False
