"""A Zarr store below a prefix of a bucket, over the same client as everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store

from functionfuse.errors import CorruptRecord

from .._s3.client import asking, client, is_absent
from .download import is_cut
from .objects import objects_below

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from .._s3.settings import S3Settings

_TRIES = 3
_CHUNKS = "c/"


class S3ZarrStore(Store):
    """The objects whose keys start with a prefix.

    It can be pickled, without secrets: each process finds the credentials anew. Reading, a chunk that is gone
    is a CorruptRecord, where other stores leave Zarr to return the fill value.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, settings: S3Settings, prefix: str, *, read_only: bool) -> None:
        super().__init__(read_only=read_only)
        self._settings = settings
        self._prefix = prefix

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3ZarrStore) and other._identity() == self._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __str__(self) -> str:
        return self._settings.address(self._prefix)

    def with_read_only(self, read_only: bool = False) -> S3ZarrStore:
        """Return a store of the same objects."""
        return S3ZarrStore(self._settings, self._prefix, read_only=read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of an object; None for one that may be missing. CorruptRecord."""
        data = await asyncio.to_thread(self._get, key, byte_range)
        if data is not None:
            return prototype.buffer.from_bytes(data)
        if self.read_only and key.startswith(_CHUNKS):
            raise CorruptRecord(
                f"chunk {self._address(key)!r} is gone: removed with its result, or lost; read the result again"
            )
        return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return the bytes of several objects, or ranges of them."""
        return list(await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is an object."""
        return await asyncio.to_thread(self.has, key)

    def has(self, key: str) -> bool:
        """Whether there is an object."""
        with asking("read", self._settings, self._prefix + key):
            try:
                client(self._settings).head_object(**self._target(key))
            except Exception as error:
                if is_absent(error):
                    return False
                raise
        return True

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        self._check_writable()
        await asyncio.to_thread(self._put, key, value.to_bytes())

    async def delete(self, key: str) -> None:
        """Delete an object; one that is gone already does not matter."""
        self._check_writable()
        with asking("remove", self._settings, self._prefix + key):
            await asyncio.to_thread(client(self._settings).delete_object, **self._target(key))

    def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        return self.list_prefix("")

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that start with ``prefix``."""
        for entry in await asyncio.to_thread(lambda: list(objects_below(self._settings, self._prefix + prefix))):
            yield entry["Key"][len(self._prefix) :]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield what is right below ``prefix``."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        found = {key[len(start) :].partition("/")[0] async for key in self.list_prefix(start)}
        for name in sorted(found):  # not from a listing by folders: some servers list empty ones
            yield name

    def _identity(self) -> tuple[Any, ...]:
        return self._settings, self._prefix

    def _address(self, key: str) -> str:
        return self._settings.address(self._prefix + key)

    def _target(self, key: str) -> dict[str, str]:
        return {"Bucket": self._settings.bucket, "Key": self._prefix + key}

    def _put(self, key: str, data: bytes) -> None:
        with asking("write", self._settings, self._prefix + key):
            client(self._settings).put_object(**self._target(key), Body=data)

    def _get(self, key: str, span: ByteRequest | None) -> bytes | None:
        """Return bytes of an object, None when there is none; a body that was cut is read again."""
        wanted = {"Range": _http_range(span)} if span is not None else {}
        with asking("read", self._settings, self._prefix + key):
            for attempt in range(_TRIES):
                try:
                    return bytes(client(self._settings).get_object(**self._target(key), **wanted)["Body"].read())
                except Exception as error:
                    if is_absent(error):
                        return None
                    if not is_cut(error) or attempt == _TRIES - 1:
                        raise
        raise AssertionError("not reached")


def _http_range(span: ByteRequest) -> str:
    if isinstance(span, RangeByteRequest):
        return f"bytes={span.start}-{span.end - 1}"
    if isinstance(span, OffsetByteRequest):
        return f"bytes={span.offset}-"
    return f"bytes=-{span.suffix}"
