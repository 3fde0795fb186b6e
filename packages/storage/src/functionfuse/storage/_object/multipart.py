"""One large object on its way: a multipart upload, with several parts in flight."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._s3.client import asking, client, is_absent
from .objects import MARK, is_marked, settle

if TYPE_CHECKING:
    from .._s3.settings import S3Settings


class Restart(Exception):  # noqa: N818
    """The upload is gone, and only a new one helps."""


class Multipart:
    """Parts are sent while the next ones are being made; at most ``workers`` are in flight."""

    def __init__(self, settings: S3Settings, key: str) -> None:
        self._settings = settings
        self.key = key
        self._client = client(settings)
        self._mark = uuid.uuid4().hex
        self._parts: list[Future[dict[str, Any]]] = []
        self._slots = threading.BoundedSemaphore(settings.workers)
        target = {"Bucket": settings.bucket, "Key": key}
        with asking("write", settings, key):
            answer = self._client.create_multipart_upload(**target, Metadata={MARK: self._mark})
        self._target = {**target, "UploadId": answer["UploadId"]}
        self._pool = ThreadPoolExecutor(settings.workers)

    def __len__(self) -> int:
        return len(self._parts)

    def send(self, body: bytes | bytearray | memoryview) -> None:
        """Send one more part, which stays in use until ``join``. Restart, StorageError."""
        self._slots.acquire()
        self._raise_failed()
        self._parts.append(self._pool.submit(self._send, len(self._parts) + 1, body))

    def join(self) -> None:
        """Wait until all parts are sent. Restart, StorageError."""
        self._pool.shutdown()
        self._raise_failed()

    def complete(self) -> None:
        """Make the object visible. Restart, Unsure, StorageError."""
        parts = [part.result() for part in self._parts]
        with asking("write", self._settings, self.key):
            try:
                self._client.complete_multipart_upload(**self._target, MultipartUpload={"Parts": parts})
            except Exception as error:
                if is_absent(error) and not is_marked(self._settings, self.key, self._mark):
                    raise Restart from error
                settle(self._settings, self.key, self._mark, error)

    def abort(self) -> None:
        """Give up: what was sent is deleted."""
        self._pool.shutdown(cancel_futures=True)
        with suppress(Exception):  # what stays is an unfinished upload, which gc takes
            self._client.abort_multipart_upload(**self._target)

    def _send(self, number: int, body: bytes | bytearray | memoryview) -> dict[str, Any]:
        try:
            answer = self._client.upload_part(**self._target, PartNumber=number, Body=bytearray(body))
        except Exception as error:
            if is_absent(error):
                raise Restart from error
            raise
        finally:
            self._slots.release()
        checksums = {name: answer[name] for name in answer if name.startswith("Checksum") and name != "ChecksumType"}
        return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

    def _raise_failed(self) -> None:
        """Stop before more is sent in vain."""
        with asking("write", self._settings, self.key):
            for part in self._parts:
                if part.done():
                    part.result()
