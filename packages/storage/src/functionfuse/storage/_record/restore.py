"""Where pickles find their serializer again while a record is being read.

Every record with serialized objects names `functionfuse.storage._record.restore.restore`: module and function
are part of the format and can never move.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._serialize.serializers import SerializerRegistry
    from .._store.transport import BlobReader

_source: ContextVar[tuple[SerializerRegistry, BlobReader] | None] = ContextVar("source", default=None)


def restore(name: str, version: int, state: Any) -> Any:
    """Load an object from the state that its serializer saved; pickle calls this.

    Args:
        name: of the serializer.
        version: of the serializer that saved the object.
        state: what `save` returned.

    Raises:
        StorageError: the pickle is not loaded by a store.
    """
    source = _source.get()
    if source is None:
        raise StorageError("this pickle is part of a stored record; read it with store.read_task")
    registry, blobs = source
    return registry.named(name).load(state, blobs, version)


@contextmanager
def restoring(registry: SerializerRegistry, blobs: BlobReader) -> Iterator[None]:
    """Context: `restore` finds serializers and blobs.

    Args:
        registry: of the serializers.
        blobs: of the workflow.
    """
    token = _source.set((registry, blobs))
    try:
        yield
    finally:
        _source.reset(token)
