"""Events from outside: what a listener is."""

from __future__ import annotations

from typing import Any


class EventListener:
    """Waits for one event; subclasses say how.

    A listener is made anew, without arguments, for each of the two calls. What blocks its thread is fine: each wait
    has a thread of its own in a process that all waits of the cluster share, and holds no worker and no CPU.
    """

    async def poll_for_event(self, *args: Any, **kwargs: Any) -> Any:
        """Return the event, as soon as there is one.

        Args:
            args: what `wait_for_event` was given.
            kwargs: likewise.
        """
        raise NotImplementedError

    async def event_checkpointed(self, event: Any) -> None:
        """Called after the event was stored, so that its source may forget it. May be called again after a crash."""
