"""Read objects: their ends, or the whole of them by ranges, as one version even while they are replaced."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError

from .._file.disk import fresh_memory
from .._s3.client import asking, client, is_absent, status
from .._store.transport import Absent

if TYPE_CHECKING:
    from .._s3.settings import S3Settings

FIRST = 8 << 20  # bytes of the first request, which is the only one for most records
RANGE = 16 << 20
_TRIES = 5
_BODY_TRIES = 3


class Changed(Exception):  # noqa: N818
    """Another object has the name now."""


def read_end(settings: S3Settings, key: str, length: int) -> tuple[bytes, int]:
    """Return the last bytes of an object, and its size. Absent."""
    with asking("read", settings, key):
        for attempt in itertools.count(1):
            answer = _get(settings, key, f"bytes=-{length}")
            if answer is None:
                break
            try:
                return answer["Body"].read()[-length:], _size(answer)
            except Exception as error:
                if not is_cut(error) or attempt == _BODY_TRIES:
                    raise
    return b"", 0


def read_whole(settings: S3Settings, key: str) -> memoryview:
    """Return all bytes of an object, of one version of it. Absent."""
    for _ in range(_TRIES):
        try:
            with asking("read", settings, key):
                return _read_version(settings, key)
        except Changed:
            continue
    raise StorageError(f"cannot read {settings.address(key)!r}: it is replaced faster than read")


def _read_version(settings: S3Settings, key: str) -> memoryview:
    answer = _get(settings, key, f"bytes=0-{FIRST - 1}")
    if answer is None:
        return memoryview(bytearray())
    size, version = _size(answer), answer["ETag"]
    view = memoryview(bytearray(size) if size <= FIRST else fresh_memory(size))
    first = min(size, FIRST)
    fetch = partial(_fetch, settings, key, view, version)
    try:
        _fill(view[:first], answer["Body"])
    except Exception as error:
        if not is_cut(error):
            raise
        fetch((0, first))
    ranges = [(at, min(at + RANGE, size)) for at in range(first, size, RANGE)]
    if ranges:
        with ThreadPoolExecutor(min(settings.workers, len(ranges))) as pool:
            for _ in pool.map(fetch, ranges):
                pass
    return view


def _fetch(settings: S3Settings, key: str, view: memoryview, version: str, span: tuple[int, int]) -> None:
    start, end = span
    for attempt in range(_BODY_TRIES):
        try:
            answer = _get(settings, key, f"bytes={start}-{end - 1}", IfMatch=version)
            if answer is None:
                raise Changed
            if answer["ETag"] != version:  # a server that ignores If-Match
                raise Changed
            _fill(view[start:end], answer["Body"])
        except Exception as error:
            if not is_cut(error) or attempt == _BODY_TRIES - 1:
                raise
        else:
            return


def _get(settings: S3Settings, key: str, span: str, **condition: str) -> Any:
    """Return the answer, or None for an empty object. Absent, Changed."""
    try:
        return client(settings).get_object(Bucket=settings.bucket, Key=key, Range=span, **condition)
    except Exception as error:
        if status(error) == 416:
            return None
        if status(error) == 412:
            raise Changed from error
        if is_absent(error):
            raise Absent from None
        raise


def _fill(view: memoryview, body: Any) -> None:
    filled = 0
    while filled < len(view):
        count = body.readinto(view[filled:])
        if not count:
            from botocore.exceptions import IncompleteReadError

            raise IncompleteReadError(actual_bytes=filled, expected_bytes=len(view))
        filled += count
    body.close()


def is_cut(error: Exception) -> bool:
    """Whether a body ended early, which botocore leaves to its caller to repeat."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    return isinstance(error, (HTTPClientError, IncompleteReadError, ConnectionError))


def _size(answer: Any) -> int:
    span = answer.get("ContentRange")
    return int(span.rpartition("/")[2]) if span else int(answer["ContentLength"])
