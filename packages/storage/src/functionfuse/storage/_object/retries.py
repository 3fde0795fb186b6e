"""Retries of what failed for a while: throttled requests, lost connections."""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, TypeVar

from .client import ReadInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from .client import ObjectClient

T = TypeVar("T")

_FIRST = 0.05  # seconds before the first retry at most; doubled for each one after it
_LONGEST = 5.0
_TRIES = 3  # of a client that does not retry for any time


def back_off(attempt: int) -> float:
    """Return how long to wait before a retry; by chance, so that many processes do not return together.

    Args:
        attempt: how many failed before.
    """
    return random.uniform(0, min(_LONGEST, _FIRST * 2 ** min(attempt, 16)))  # noqa: S311  no secret


def read_persistently(client: ObjectClient, read: Callable[[], T]) -> T:
    """Return what a function reads, and call it again while connections are lost.

    Args:
        client: of the object store, which says how long.
        read: the function.

    Raises:
        ReadInterrupted: it failed for too long.
    """
    until = time.monotonic() + client.retry_seconds
    tries = 1 if client.retry_seconds else _TRIES
    for attempt in itertools.count(1):
        try:
            return read()
        except ReadInterrupted:
            if attempt >= tries and time.monotonic() >= until:
                raise
        time.sleep(back_off(attempt))
    raise AssertionError("not reached")
