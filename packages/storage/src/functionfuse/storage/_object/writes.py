"""Write objects so that lost responses and conflicts with other writers do no harm."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from functionfuse.errors import StorageError

from .client import OutcomeUnknown, WriteConflict

if TYPE_CHECKING:
    from .client import ObjectClient

_TRIES = 5
_BACK_OFF = 0.05  # seconds before the first retry; doubled for each one after it


def put(
    client: ObjectClient,
    key: str,
    body: bytes | bytearray,
    *,
    mark: str = "",
    if_absent: bool = False,
    if_version: str = "",
) -> None:
    """Write an object in one request, and retry where it met another write.

    Args:
        client: of the object store.
        key: of the object.
        body: the content.
        mark: a new text, by which the object is known as the one of this write when the response is lost.
        if_absent: only where no object exists.
        if_version: only where the object has this version.

    Raises:
        PreconditionFailed: the condition does not hold.
        OutcomeUnknown: no response arrived, and the object is not visible yet.
        StorageError: the write failed.
    """
    for attempt in range(_TRIES):
        try:
            client.put(key, body, mark=mark, if_absent=if_absent, if_version=if_version)
        except WriteConflict:
            time.sleep(_BACK_OFF * 2**attempt)
        except OutcomeUnknown:
            if not is_marked(client, key, mark):
                raise
            return
        else:
            return
    raise StorageError(f"cannot write {client.address(key)!r}: other writers keep replacing it")


def is_marked(client: ObjectClient, key: str, mark: str) -> bool:
    """Return True if an object exists and was made by the write with this mark.

    Args:
        client: of the object store.
        key: of the object.
        mark: of the write.
    """
    if mark:
        with suppress(StorageError):
            found = client.head(key)
            return found is not None and found.mark == mark
    return False
