"""The root of an S3 store: a marker that says how names are kept, and whether conditional writes work."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from functionfuse.errors import CorruptRecord, UnsupportedRecord

from .._file.root import FORMAT, MARKER
from .._s3.client import asking, client, is_absent, status

if TYPE_CHECKING:
    from .._s3.settings import S3Settings

_NOT_IMPLEMENTED = {400, 501}  # how servers say that they do not know the condition


def open_root(settings: S3Settings) -> bool:
    """Make the marker unless it is there; return whether the server honours conditional writes.

    Raises StorageError when the endpoint, the bucket or the credentials cannot be used.
    """
    api = client(settings, first_contact=True)
    target = {"Bucket": settings.bucket, "Key": f"{settings.prefix}{MARKER}"}
    with asking("open a store at", settings):
        marker = _read(api, target)
        if marker is None:
            conditional = _refuses_second_write(api, settings)
            text = json.dumps({"format": FORMAT, "names": "exact", "conditional": conditional})
            _create(api, target, text.encode(), conditional=conditional)
            marker = _read(api, target) or text.encode()
    return _parse(marker, settings.address(target["Key"]))


def _read(api: Any, target: dict[str, str]) -> bytes | None:
    try:
        return bytes(api.get_object(**target)["Body"].read())
    except Exception as error:
        if is_absent(error):
            return None
        raise


def _refuses_second_write(api: Any, settings: S3Settings) -> bool:
    """Whether a second ``If-None-Match: *`` is answered with 412, and not by replacing the object."""
    probe = {"Bucket": settings.bucket, "Key": f"{settings.prefix}.probe-{uuid.uuid4().hex}"}
    try:
        for body in (b"first", b"second"):
            try:
                api.put_object(**probe, Body=body, IfNoneMatch="*")
            except Exception as error:
                if status(error) in _NOT_IMPLEMENTED:
                    return False
                if status(error) != 412:
                    raise
        # Not by the answers: a retry of the first write can meet 412, too.
        return bool(api.get_object(**probe)["Body"].read() == b"first")
    finally:
        api.delete_object(**probe)


def _create(api: Any, target: dict[str, str], text: bytes, *, conditional: bool) -> None:
    try:
        api.put_object(**target, Body=text, **({"IfNoneMatch": "*"} if conditional else {}))
    except Exception as error:
        if status(error) != 412:  # another process made it
            raise


def _parse(marker: bytes, address: str) -> bool:
    try:
        content = json.loads(marker)
        version, names, conditional = content["format"], content["names"], content["conditional"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecord(f"{address!r} is damaged, or was not made by a store: {error!r}") from error
    if version != FORMAT or names != "exact":
        raise UnsupportedRecord(f"{address!r} has format {version!r}, names {names!r}; this release reads 1, 'exact'")
    return conditional is True
