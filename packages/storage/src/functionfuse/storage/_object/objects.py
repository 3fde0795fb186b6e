"""Look at objects, write, list and delete them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError

from .._s3.client import asking, client, is_absent, status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._s3.settings import S3Settings

MARK = "ff-write"  # metadata: which write made the object, for a writer whose answer got lost

_BATCH = 1000  # what one request deletes at most
_CONFLICTS = 5


class Overtaken(Exception):  # noqa: N818
    """The condition of a write does not hold."""


class Unsure(StorageError):  # noqa: N818
    """No answer came: the object may yet become visible."""


def head(settings: S3Settings, key: str) -> Any:
    """Return the answer about an object, or None when there is none."""
    with asking("read", settings, key):
        try:
            return client(settings).head_object(Bucket=settings.bucket, Key=key)
        except Exception as error:
            if is_absent(error):
                return None
            raise


def put(settings: S3Settings, key: str, body: bytearray, *, mark: str = "", **condition: str) -> None:
    """Write an object in one request. Overtaken, Unsure, StorageError.

    Of bytes boto3 would make a file, and send it in many pieces after a question; a bytearray is sent at once.
    """
    target = {"Bucket": settings.bucket, "Key": key, "Metadata": {MARK: mark} if mark else {}}
    for attempt in range(_CONFLICTS):
        with asking("write", settings, key):
            try:
                client(settings).put_object(**target, Body=body, **condition)
            except Exception as error:
                if status(error) == 412 or (condition and is_absent(error)):
                    raise Overtaken from error
                if status(error) != 409:
                    settle(settings, key, mark, error)
                    return
            else:
                return
        time.sleep(0.05 * 2**attempt)
    raise StorageError(f"cannot write {settings.address(key)!r}: other writers keep replacing it")


def settle(settings: S3Settings, key: str, mark: str, error: Exception) -> None:
    """Return if a write that failed is visible nevertheless: its answer may have got lost. Unsure, or the error."""
    if (answer := status(error)) not in (0, 404) and answer < 500:
        raise error
    if mark and is_marked(settings, key, mark):
        return
    if answer == 404:
        raise error
    try:
        with asking("write", settings, key):
            raise error
    except StorageError as told:
        raise Unsure(str(told)) from error


def is_marked(settings: S3Settings, key: str, mark: str) -> bool:
    """Whether an object is there, and made by this write."""
    with suppress(StorageError):
        answer = head(settings, key)
        return bool(answer and answer["Metadata"].get(MARK) == mark)
    return False


def delete(settings: S3Settings, key: str) -> None:
    """Delete an object, if it is there."""
    with asking("remove", settings, key):
        client(settings).delete_object(Bucket=settings.bucket, Key=key)


def keys_below(settings: S3Settings, prefix: str, *, page: int = 1000) -> Iterator[str]:
    """Yield the keys that start with ``prefix`` and have no slash behind it."""
    for answer in _pages(settings, prefix, "/", page):
        yield from (entry["Key"] for entry in answer.get("Contents", ()))


def folders_below(settings: S3Settings, prefix: str) -> list[str]:
    """Return what stands between ``prefix`` and the next slash. Some servers list empty folders, too."""
    return [
        entry["Prefix"][len(prefix) : -1]
        for answer in _pages(settings, prefix, "/")
        for entry in answer.get("CommonPrefixes", ())
    ]


def objects_below(settings: S3Settings, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield all objects whose keys start with ``prefix``: ``Key``, ``Size``, ``LastModified``."""
    for answer in _pages(settings, prefix, ""):
        # A key that ends with a slash is some server's idea of a folder.
        yield from (entry for entry in answer.get("Contents", ()) if not entry["Key"].endswith("/"))


def stale_uploads(settings: S3Settings, prefix: str, grace: float) -> list[tuple[str, str]]:
    """Return key and id of the unfinished uploads below ``prefix`` that began ``grace`` seconds ago or more.

    All uploads of the bucket are listed: with a prefix, some servers leave out what they should list.
    """
    latest = time.time() - grace
    with asking("list the uploads of", settings):
        return [
            (upload["Key"], upload["UploadId"])
            for answer in client(settings).get_paginator("list_multipart_uploads").paginate(Bucket=settings.bucket)
            for upload in answer.get("Uploads", ())
            if upload["Key"].startswith(prefix) and upload["Initiated"].timestamp() <= latest
        ]


def delete_keys(settings: S3Settings, keys: Iterable[str]) -> None:
    """Delete objects; those that are gone already do not matter."""
    all_keys = list(keys)
    for at in range(0, len(all_keys), _BATCH):
        batch = all_keys[at : at + _BATCH]
        with asking("delete", settings, batch[0]):
            answer = client(settings).delete_objects(
                Bucket=settings.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
        for failed in answer.get("Errors", ()):
            reason = failed.get("Message") or failed.get("Code")
            raise StorageError(f"cannot delete {settings.address(failed['Key'])!r}: {reason}")


def _pages(settings: S3Settings, prefix: str, delimiter: str, page: int = 1000) -> Iterator[dict[str, Any]]:
    query = {"Bucket": settings.bucket, "Prefix": prefix, "PaginationConfig": {"PageSize": page}}
    if delimiter:
        query["Delimiter"] = delimiter
    with asking("list", settings, prefix):
        yield from client(settings).get_paginator("list_objects_v2").paginate(**query)
