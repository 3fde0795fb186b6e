"""Stores keep every node's result: saved once, atomically, and checked whenever it is read.

>>> store = storage_factory({"kind": "file", "options": {"path": "storage"}})  # doctest: +SKIP
"""

from __future__ import annotations

from functionfuse.errors import (
    BadSignature,
    CorruptRecord,
    LostRace,
    MissingSerializer,
    StorageError,
    TaskNotFound,
    UnsupportedRecord,
)
from functionfuse.storage._file.store import FileStore
from functionfuse.storage._ray.store import RayStore
from functionfuse.storage._s3.store import S3Store
from functionfuse.storage._serialize.serializers import Serializer
from functionfuse.storage._store.factory import storage_factory

__all__ = [
    "BadSignature",
    "CorruptRecord",
    "FileStore",
    "LostRace",
    "MissingSerializer",
    "RayStore",
    "S3Store",
    "Serializer",
    "StorageError",
    "TaskNotFound",
    "UnsupportedRecord",
    "storage_factory",
]
