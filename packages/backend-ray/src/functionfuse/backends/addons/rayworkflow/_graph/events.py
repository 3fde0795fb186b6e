"""Failures and events on their way from the cluster to the driver of a graph."""

from __future__ import annotations

import asyncio
import io
import pickle
import uuid
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError

from functionfuse.backends.calls import RemoteError
from functionfuse.errors import WorkflowFailed

from .._worker.task_actor import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from functionfuse.backends.observers import Event


class EventChannelActor:
    """An actor of the driver; who reports an event waits until the driver has received it."""

    def __init__(self) -> None:
        self._report_stored: asyncio.Queue[tuple[bytes, asyncio.Future[None]]] = asyncio.Queue()
        self._taken: asyncio.Future[None] | None = None

    async def report(self, event: bytes) -> None:
        """Pass on an event."""
        arguments: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._report_stored.put((event, arguments))
        await arguments

    async def next(self) -> bytes:
        """Return the next event, after the one before was taken in."""
        if self._taken is not None:
            self._taken.set_result(None)
        event, self._taken = await self._report_stored.get()
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
            ray.get(actor.report.remote(serialize_failure(event)))
        except RayActorError:  # the driver has ended; the run goes on
            return

    return report


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # without types
    """Pickles errors with their causes and notes; what cannot be pickled is replaced by its description."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, BaseException):
            return super().reducer_override(obj)
        state: dict[str, Any] = {"__cause__": obj.__cause__, "__notes__": list(getattr(obj, "__notes__", ()))}
        if isinstance(obj, WorkflowFailed):
            state["report"] = obj.report
        return pickle.loads, (_alone(obj),), state, None, None, _complete


def serialize_failure(reported: Any) -> bytes:
    """Pickle an error, or an event with one, so that it can be read wherever its class can."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(reported)
    return file.getvalue()


def _complete(error: BaseException, state: dict[str, Any]) -> None:
    for name, value in state.items():
        setattr(error, name, value)


def _alone(error: BaseException) -> bytes:
    try:
        serialized: bytes = cloudpickle.dumps(error)
        pickle.loads(serialized)  # some exceptions can be pickled but not unpickled
    except Exception:
        serialized = cloudpickle.dumps(RemoteError(f"{type(error).__qualname__}: {error}"))
    return serialized
