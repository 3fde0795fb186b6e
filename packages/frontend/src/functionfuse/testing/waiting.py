"""Waiting in tests for what another thread, process or server does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 300, *, interval: float = 0.02) -> T:
    """Wait until a condition returns something true, and return that.

    Where there is an event to wait for, wait for that instead.

    Args:
        condition: asked again and again.
        seconds: after which it is given up.
        interval: seconds between two questions.

    Raises:
        TimeoutError: it never did; the message names the condition.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise TimeoutError(f"{name} did not become true within {seconds} seconds; it returned {value!r}")
        time.sleep(interval)
    return value
