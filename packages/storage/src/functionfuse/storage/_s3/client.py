"""An `ObjectClient` for S3, and servers that speak its protocol, by boto3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from functionfuse.errors import StorageError

from .._object.client import (
    ConditionUnsupported,
    ObjectEntry,
    ObjectHead,
    OutcomeUnknown,
    PreconditionFailed,
    ReadInterrupted,
    UploadEntry,
    UploadMissing,
    VersionChanged,
    WriteConflict,
)
from .._store.transport import Absent
from .connection import boto_client, is_absent, is_interrupted, is_of_boto, reason_of, status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .settings import S3Settings

_MARK = "ff-write"  # metadata
_BATCH = 1000  # what one request deletes at most
_CONDITION_UNSUPPORTED = {400, 501}
_CHECKSUM_REFUSED = {400, 501}
_UNEXPLAINED = {400, 403}  # a response to HEAD has no body, which would say why; that to GET has


@dataclass(frozen=True)
class S3Client:
    """A bucket; `ObjectClient` describes the methods.

    Requests are made by the boto3 client of whichever process they are made in.
    """

    settings: S3Settings
    is_probing: bool = False

    @property
    def workers(self) -> int:
        return self.settings.workers

    @property
    def retry_seconds(self) -> float:
        return 0.0 if self.is_probing else self.settings.retry_seconds

    def address(self, key: str) -> str:
        return self.settings.address(key)

    def probing(self) -> S3Client:
        return replace(self, is_probing=True)

    # One object

    def head(self, key: str) -> ObjectHead | None:
        boto = self._boto
        try:
            try:
                found = boto.head_object(**self._target(key))
            except Exception as error:
                if status(error) not in _UNEXPLAINED:
                    raise
                found = boto.get_object(**self._target(key))
                found["Body"].close()
        except Exception as error:
            if is_absent(error):
                return None
            self._fail(error, "read", key)
        return ObjectHead(found["ETag"], found["Metadata"].get(_MARK, ""))

    def get(self, key: str, start: int = 0, end: int | None = None, *, version: str = "") -> S3Content:
        wanted = {"Range": _http_range(start, end)} if start or end is not None else {}
        if version:
            wanted["IfMatch"] = version
        boto = self._boto
        try:
            return S3Content(self, key, boto.get_object(**self._target(key), **wanted))
        except Exception as error:
            if status(error) == 416:  # no range of an object without content can be had
                return S3Content(self, key, {})
            if status(error) == 412:
                raise VersionChanged from error
            if is_absent(error):
                raise Absent from None
            self._fail(error, "read", key, ReadInterrupted if is_interrupted(error) else StorageError)

    def put(
        self,
        key: str,
        body: bytes | bytearray,
        *,
        mark: str = "",
        if_absent: bool = False,
        if_version: str = "",
    ) -> None:
        condition = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_version} if if_version else {}
        metadata = {_MARK: mark} if mark else {}
        boto = self._boto
        try:  # of bytes boto3 makes a file, and sends it in many pieces after a question; a bytearray is sent at once
            boto.put_object(**self._target(key), Metadata=metadata, Body=body, **condition)
        except Exception as error:
            if condition and (status(error) == 412 or is_absent(error)):
                raise PreconditionFailed from error
            kind = _kind_of_failed_write(error)
            if condition and status(error) in _CONDITION_UNSUPPORTED:
                kind = ConditionUnsupported
            self._fail(error, "write", key, kind)

    def delete(self, key: str) -> None:
        with self._failing("remove", key) as boto:
            boto.delete_object(**self._target(key))

    def upload_file(self, path: Path, key: str) -> None:
        with self._failing("write", key) as boto:
            boto.upload_file(str(path), self.settings.bucket, key, Config=self._transfer())

    def download_file(self, key: str, path: Path) -> None:
        boto = self._boto
        try:
            boto.download_file(self.settings.bucket, key, str(path), Config=self._transfer())
        except Exception as error:
            if is_absent(error):
                raise Absent from error
            self._fail(error, "read", key, ReadInterrupted if is_interrupted(error) else StorageError)

    # Many objects

    def list_objects(self, prefix: str, *, nested: bool = True, page: int = 1000) -> Iterator[ObjectEntry]:
        for response in self._pages(prefix, "" if nested else "/", page):
            for entry in response.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # some server's idea of a folder
                    modified = entry["LastModified"].timestamp()
                    yield ObjectEntry(entry["Key"], entry["Size"], modified, entry["ETag"])

    def list_folders(self, prefix: str) -> list[str]:
        return [
            entry["Prefix"][len(prefix) : -1]
            for response in self._pages(prefix, "/", 1000)
            for entry in response.get("CommonPrefixes", ())
        ]

    def delete_many(self, keys: Iterable[str]) -> None:
        all_keys = list(keys)
        for at in range(0, len(all_keys), _BATCH):
            self._delete_each(self._delete_batch(all_keys[at : at + _BATCH]))

    def _delete_batch(self, batch: list[str]) -> list[str]:
        """Delete objects in one request, and return the keys of those that it did not delete."""
        wanted = {"Objects": [{"Key": key} for key in batch], "Quiet": True}
        boto = self._boto
        try:
            response = boto.delete_objects(Bucket=self.settings.bucket, Delete=wanted)
        except Exception as error:
            if status(error) in _CHECKSUM_REFUSED:  # of the list of keys, which boto3 does not send without
                return batch
            self._fail(error, "delete", batch[0])
        return [failed["Key"] for failed in response.get("Errors", ())]

    def _delete_each(self, keys: list[str]) -> None:
        if keys:
            with ThreadPoolExecutor(self.workers) as pool:
                for _ in pool.map(self.delete, keys):
                    pass

    # Multipart uploads

    def start_upload(self, key: str, mark: str) -> str:
        with self._failing("write", key) as boto:
            started = boto.create_multipart_upload(**self._target(key), Metadata={_MARK: mark})
        return str(started["UploadId"])

    def send_part(self, key: str, upload: str, number: int, body: bytes | bytearray | memoryview) -> dict[str, Any]:
        target = {**self._target(key), "UploadId": upload, "PartNumber": number}
        boto = self._boto
        try:
            sent = boto.upload_part(**target, Body=bytearray(body))
        except Exception as error:
            if is_absent(error):
                raise UploadMissing from error
            self._fail(error, "write", key)
        checksums = {name: sent[name] for name in sent if name.startswith("Checksum") and name != "ChecksumType"}
        return {"PartNumber": number, "ETag": sent["ETag"], **checksums}

    def complete_upload(self, key: str, upload: str, parts: list[Any]) -> None:
        target = {**self._target(key), "UploadId": upload}
        boto = self._boto
        try:
            boto.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
        except Exception as error:
            if is_absent(error):
                raise UploadMissing from error
            self._fail(error, "write", key, _kind_of_failed_write(error))

    def abort_upload(self, key: str, upload: str) -> None:
        boto = self._boto
        try:
            boto.abort_multipart_upload(**self._target(key), UploadId=upload)
        except Exception as error:
            if not is_absent(error):
                self._fail(error, "abort the upload of", key)

    def list_uploads(self, prefix: str) -> Iterator[UploadEntry]:
        # Of the whole bucket: with a prefix, some servers leave out what they should list.
        with self._failing("list the uploads of", "") as boto:
            for response in boto.get_paginator("list_multipart_uploads").paginate(Bucket=self.settings.bucket):
                for upload in response.get("Uploads", ()):
                    if upload["Key"].startswith(prefix):
                        yield UploadEntry(upload["Key"], upload["UploadId"], upload["Initiated"].timestamp())

    @property
    def _boto(self) -> Any:
        return boto_client(self.settings, probing=self.is_probing)

    def _target(self, key: str) -> dict[str, str]:
        return {"Bucket": self.settings.bucket, "Key": key}

    def _transfer(self) -> Any:
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(max_concurrency=self.workers)

    def _pages(self, prefix: str, delimiter: str, page: int) -> Iterator[dict[str, Any]]:
        query = {"Bucket": self.settings.bucket, "Prefix": prefix, "PaginationConfig": {"PageSize": page}}
        if delimiter:
            query["Delimiter"] = delimiter
        with self._failing("list", prefix) as boto:
            yield from boto.get_paginator("list_objects_v2").paginate(**query)

    @contextmanager
    def _failing(self, action: str, key: str) -> Iterator[Any]:
        """Context: give the boto3 client, and turn what it raises into a StorageError."""
        boto = self._boto
        try:
            yield boto
        except Exception as error:
            self._fail(error, action, key)

    def _fail(self, error: Exception, action: str, key: str, kind: type[StorageError] = StorageError) -> NoReturn:
        """Raise an error that says what failed, where and why; what is not about a request passes through."""
        if isinstance(error, StorageError) and kind is OutcomeUnknown:  # of the user's function for credentials
            raise kind(str(error)) from error
        if isinstance(error, StorageError) or not (is_of_boto(error) or is_interrupted(error)):
            raise error
        if self.is_probing:
            action, key = "open a store at", ""
        raise kind(f"cannot {action} {self.address(key)!r}: {reason_of(error, self.settings)}") from error


class S3Content:
    """A range of an object that is being read; see `ObjectContent`.

    Args:
        client: that reads it.
        key: of the object.
        response: of boto3; empty for an object without content.
    """

    def __init__(self, client: S3Client, key: str, response: dict[str, Any]) -> None:
        span = response.get("ContentRange")
        self.size = int(span.rpartition("/")[2]) if span else int(response.get("ContentLength", 0))
        self.version = str(response.get("ETag", ""))
        self._client = client
        self._key = key
        self._body = response.get("Body")

    def read(self) -> bytes:
        try:
            return bytes(self._body.read()) if self._body is not None else b""
        except Exception as error:
            self._fail(error)

    def read_into(self, view: memoryview) -> None:
        filled = 0
        try:
            while filled < len(view):
                count = self._body.readinto(view[filled:]) if self._body is not None else 0
                if not count:
                    from botocore.exceptions import IncompleteReadError

                    raise IncompleteReadError(actual_bytes=filled, expected_bytes=len(view))
                filled += count
            if self._body is not None:
                self._body.close()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        self._client._fail(error, "read", self._key, ReadInterrupted if is_interrupted(error) else StorageError)


def _kind_of_failed_write(error: Exception) -> type[StorageError]:
    number = status(error)
    if number == 409:
        return WriteConflict
    return OutcomeUnknown if number == 0 or number >= 500 else StorageError


def _http_range(start: int, end: int | None) -> str:
    if start < 0:
        return f"bytes={start}"
    return f"bytes={start}-{'' if end is None else end - 1}"
