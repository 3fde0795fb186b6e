"""Read objects: their ends, or the whole of them by ranges, as one version even while they are replaced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from functionfuse.errors import StorageError

from .._file.disk import fresh_memory
from .client import ReadInterrupted, VersionChanged
from .retries import read_persistently

if TYPE_CHECKING:
    from .client import ObjectClient

FIRST = 8 << 20  # bytes of the first request, which is the only one for most records
RANGE = 16 << 20
_VERSION_TRIES = 5


def read_end(client: ObjectClient, key: str, length: int) -> tuple[bytes, int]:
    """Return the last bytes of an object, and its size.

    Args:
        client: of the object store.
        key: of the object.
        length: how many bytes.

    Raises:
        Absent: there is no such object.
    """

    def read() -> tuple[bytes, int]:
        content = client.get(key, -length)
        return content.read()[-length:], content.size

    return read_persistently(client, read)


def read_range(client: ObjectClient, key: str, start: int = 0, end: int | None = None) -> bytes:
    """Return bytes of an object.

    Args:
        client: of the object store.
        key: of the object.
        start: the first byte; a negative number means as many of the last bytes, without `end`.
        end: one behind the last byte; None means all to the end.

    Raises:
        Absent: there is no such object.
    """
    return read_persistently(client, lambda: client.get(key, start, end).read())


def read_whole(client: ObjectClient, key: str) -> memoryview:
    """Return all bytes of an object, of one version of it; writable and private to the caller.

    Args:
        client: of the object store.
        key: of the object.

    Raises:
        Absent: there is no such object.
        StorageError: it is replaced again and again.
    """
    for _ in range(_VERSION_TRIES):
        try:
            return _read_version(client, key)
        except VersionChanged:
            continue
    raise StorageError(f"cannot read {client.address(key)!r}: it is replaced faster than read")


def _read_version(client: ObjectClient, key: str) -> memoryview:
    content = client.get(key, 0, FIRST)
    size = content.size
    view = memoryview(bytearray(size) if size <= FIRST else fresh_memory(size))
    first = min(size, FIRST)
    fetch = partial(_fetch, client, key, view, content.version)
    try:
        content.read_into(view[:first])
    except ReadInterrupted:
        fetch((0, first))
    ranges = [(at, min(at + RANGE, size)) for at in range(first, size, RANGE)]
    if ranges:
        with ThreadPoolExecutor(min(client.workers, len(ranges))) as pool:
            for _ in pool.map(fetch, ranges):
                pass
    return view


def _fetch(client: ObjectClient, key: str, view: memoryview, version: str, span: tuple[int, int]) -> None:
    start, end = span

    def read() -> None:
        content = client.get(key, start, end, version=version)
        if content.version != version:  # a server that ignores the condition, or an object without content
            raise VersionChanged
        content.read_into(view[start:end])

    read_persistently(client, read)
