"""Events on their way from the cluster to the driver of a graph."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError

from .._dag.serialization import SERIALIZER
from .._worker.task_actor import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from functionfuse.backends.observers import Event


class EventChannelActor:
    """An actor of the driver; who reports an event waits until the driver has received it."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[tuple[bytes, asyncio.Future[None]]] = asyncio.Queue()
        self._received: asyncio.Future[None] | None = None

    async def report(self, event: bytes) -> None:
        """Pass on an event; return when the driver has received it."""
        received: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._events.put((event, received))
        await received

    async def next(self) -> bytes:
        """Return the next event, after the one before was received."""
        if self._received is not None:
            self._received.set_result(None)
        event, self._received = await self._events.get()
        return event


def start_event_channel() -> tuple[str, Any]:
    """Start an event channel; return its name and the actor."""
    name = f"functionfuse-events-{uuid.uuid4().hex}"
    return name, ray.remote(num_cpus=0)(EventChannelActor).options(name=name, namespace=NAMESPACE).remote()


def callback_to(name: str) -> Callable[[Event], None] | None:
    """Return an observer that passes events on to a driver; None when the driver has ended."""
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None

    def report(event: Event) -> None:
        try:
            ray.get(actor.report.remote(SERIALIZER.dumps_with_errors(event)))
        except RayActorError:  # the driver has ended; the run goes on
            return

    return report
