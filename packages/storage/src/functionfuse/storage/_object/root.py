"""The root of an object store: a marker that says how names are kept, and whether conditional writes work."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from functionfuse.errors import UnsupportedRecord

from .._store.layout import MARKER, marker_text, parse_marker
from .._store.transport import Absent
from .client import ConditionUnsupported, PreconditionFailed

if TYPE_CHECKING:
    from .client import ObjectClient


def open_root(client: ObjectClient, prefix: str) -> bool:
    """Make the marker unless it exists; return whether the server honours conditional writes.

    Args:
        client: of the object store.
        prefix: what all keys of the store start with.

    Raises:
        StorageError: server, bucket or credentials cannot be used.
        CorruptRecord: the marker is damaged.
        UnsupportedRecord: the marker is of another format.
    """
    probing, key = client.probing(), f"{prefix}{MARKER}"
    marker = _read(probing, key)
    if marker is None:
        conditional = _refuses_second_write(probing, prefix)
        text = marker_text(names="exact", conditional=conditional).encode()
        with suppress(PreconditionFailed):  # another process made it
            probing.put(key, bytearray(text), if_absent=conditional)
        marker = _read(probing, key) or text
    return _parse(marker, client.address(key))


def _read(client: ObjectClient, key: str) -> bytes | None:
    try:
        return client.get(key).read()
    except Absent:
        return None


def _refuses_second_write(client: ObjectClient, prefix: str) -> bool:
    """Return True if a second conditional write is refused, and does not replace the object."""
    key = f"{prefix}.probe-{uuid.uuid4().hex}"
    try:
        for body in (b"first", b"second"):
            with suppress(PreconditionFailed):
                client.put(key, bytearray(body), if_absent=True)
        # Not by the responses: a retry of the first write can be refused, too.
        return client.get(key).read() == b"first"
    except ConditionUnsupported:
        return False
    finally:
        client.delete(key)


def _parse(marker: bytes, address: str) -> bool:
    content = parse_marker(marker, address, "conditional")
    if content["names"] != "exact":
        raise UnsupportedRecord(f"{address!r} has names {content['names']!r}; a store of objects reads 'exact'")
    return content["conditional"] is True
