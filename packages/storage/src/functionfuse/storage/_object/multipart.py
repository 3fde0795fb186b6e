"""A multipart upload of one large object, with several parts in flight."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .client import OutcomeUnknown, UploadMissing
from .writes import is_marked

if TYPE_CHECKING:
    from .client import ObjectClient


class MultipartUpload:
    """Parts are sent while the next ones are being made; at most `workers` of the client are in flight.

    Args:
        client: of the object store.
        key: of the object.
    """

    def __init__(self, client: ObjectClient, key: str) -> None:
        self.key = key
        self._client = client
        self._mark = uuid.uuid4().hex
        self._parts: list[Future[Any]] = []
        self._slots = threading.BoundedSemaphore(client.workers)
        self._upload = client.start_upload(key, self._mark)
        self._pool = ThreadPoolExecutor(client.workers)

    def __len__(self) -> int:
        return len(self._parts)

    def send(self, body: bytes | bytearray | memoryview) -> None:
        """Send one more part, which stays in use until `join`.

        Raises:
            UploadMissing: the upload does not exist any more.
            StorageError: an earlier part could not be sent.
        """
        self._slots.acquire()
        self._raise_failed()
        self._parts.append(self._pool.submit(self._send, len(self._parts) + 1, body))

    def join(self) -> None:
        """Wait until all parts are sent.

        Raises:
            UploadMissing: the upload does not exist any more.
            StorageError: a part could not be sent.
        """
        self._pool.shutdown()
        self._raise_failed()

    def complete(self) -> None:
        """Make the object visible atomically.

        Raises:
            UploadMissing: the upload does not exist any more, and did not become the object.
            OutcomeUnknown: no response arrived, and the object is not visible yet.
            StorageError: the upload failed.
        """
        try:
            self._client.complete_upload(self.key, self._upload, [part.result() for part in self._parts])
        except (UploadMissing, OutcomeUnknown):
            if not is_marked(self._client, self.key, self._mark):
                raise

    def abort(self) -> None:
        """Give up, and delete what was sent."""
        self._pool.shutdown(cancel_futures=True)
        with suppress(Exception):  # what stays is an unfinished upload, which gc takes
            self._client.abort_upload(self.key, self._upload)

    def _send(self, number: int, body: bytes | bytearray | memoryview) -> Any:
        try:
            return self._client.send_part(self.key, self._upload, number, body)
        finally:
            self._slots.release()

    def _raise_failed(self) -> None:
        """Stop before more is sent in vain."""
        for part in self._parts:
            if part.done():
                part.result()
