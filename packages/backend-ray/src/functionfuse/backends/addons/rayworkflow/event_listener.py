"""Events from outside: what a listener is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from functionfuse.backends.addons.rayworkflow.common import Event  # noqa: TC001  also found here in ray.workflow

LONGEST = 60.0  # seconds to sleep at once: so long may a clock that was moved, or a machine that slept, go unnoticed


class EventListener:
    """Waits for one event; subclasses say how.

    A listener is made anew, without arguments, for each of the two calls. What blocks its thread is fine: each wait
    has a thread of its own in a process that all waits of the cluster share, and holds no worker and no CPU.
    """

    async def poll_for_event(self, *args: Any, **kwargs: Any) -> Event:
        """Return the event, as soon as there is one.

        Args:
            args: what `wait_for_event` was given.
            kwargs: likewise.
        """
        raise NotImplementedError

    async def event_checkpointed(self, event: Event) -> None:
        """Called after the event was stored, so that its source may forget it. May be called again after a crash."""


EventListenerType = Callable[[], EventListener]
"""What makes a listener: its class."""


class TimerListener(EventListener):
    """Waits until a time."""

    async def poll_for_event(self, timestamp: float) -> None:
        """Return when the time has come.

        Args:
            timestamp: the time, in seconds since the epoch of Unix.
        """
        while (left := timestamp - time.time()) > 0:
            await asyncio.sleep(min(left, LONGEST))
