"""List and delete objects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError
from functionfuse.storage._s3_client import asking, client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from functionfuse.storage._s3_settings import S3Settings

_BATCH = 1000  # what one request deletes at most


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
