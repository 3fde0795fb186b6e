"""A Zarr store of the objects below a prefix, by the same client as everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store

from functionfuse.errors import CorruptRecord

from .._store.transport import Absent
from .download import read_range
from .writes import put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from .client import ObjectClient

_CHUNKS = "c/"


class ObjectZarrStore(Store):
    """The objects whose keys start with a prefix.

    It can be pickled, without secrets: each process finds the credentials anew. Reading a missing chunk is a
    CorruptRecord, where other stores leave Zarr to return the fill value.

    Args:
        client: of the object store.
        prefix: what the keys start with.
        read_only: refuse to write.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, client: ObjectClient, prefix: str, *, read_only: bool) -> None:
        super().__init__(read_only=read_only)
        self._client = client
        self._prefix = prefix

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectZarrStore) and other._identity() == self._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __str__(self) -> str:
        return self._client.address(self._prefix)

    def with_read_only(self, read_only: bool = False) -> ObjectZarrStore:
        """Return a store of the same objects."""
        return ObjectZarrStore(self._client, self._prefix, read_only=read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of an object; None for one that may be missing.

        Args:
            key: without the prefix.
            prototype: of the returned buffer.
            byte_range: a part of the object.

        Raises:
            CorruptRecord: a chunk of a stored array is missing.
        """
        data = await asyncio.to_thread(self._get, key, byte_range)
        if data is not None:
            return prototype.buffer.from_bytes(data)
        if self.read_only and key.startswith(_CHUNKS):
            raise CorruptRecord(
                f"chunk {self._address(key)!r} is missing: removed with its result, or lost; read the result again"
            )
        return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return the bytes of several objects, or ranges of them.

        Args:
            prototype: of the returned buffers.
            key_ranges: keys without the prefix, each with a part of its object.
        """
        return list(await asyncio.gather(*(self.get(key, prototype, span) for key, span in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return True if an object exists."""
        return await asyncio.to_thread(self.has, key)

    def has(self, key: str) -> bool:
        """Return True if an object exists."""
        return self._client.head(self._prefix + key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object.

        Args:
            key: without the prefix.
            value: the content.
        """
        self._check_writable()
        await asyncio.to_thread(put, self._client, self._prefix + key, value.to_bytes())

    async def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        self._check_writable()
        await asyncio.to_thread(self._client.delete, self._prefix + key)

    def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        return self.list_prefix("")

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that start with a prefix."""
        for entry in await asyncio.to_thread(lambda: list(self._client.list_objects(self._prefix + prefix))):
            yield entry.key[len(self._prefix) :]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield what is right below a prefix."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        found = {key[len(start) :].partition("/")[0] async for key in self.list_prefix(start)}
        for name in sorted(found):  # not from a listing by folders: some servers list empty ones
            yield name

    def _identity(self) -> tuple[Any, ...]:
        return self._client, self._prefix

    def _address(self, key: str) -> str:
        return self._client.address(self._prefix + key)

    def _get(self, key: str, span: ByteRequest | None) -> bytes | None:
        try:
            return read_range(self._client, self._prefix + key, *_start_and_end(span))
        except Absent:
            return None


def _start_and_end(span: ByteRequest | None) -> tuple[int, int | None]:
    if span is None:
        return 0, None
    if isinstance(span, RangeByteRequest):
        return span.start, span.end
    return (span.offset, None) if isinstance(span, OffsetByteRequest) else (-span.suffix, None)
