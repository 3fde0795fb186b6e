"""The wait actor: one process for all waits of a cluster, which hold no worker."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError

from .._dag.serialization import deserialize, serialize
from .._records.references import are_objects_valid, object_references, store_references
from ..event_listener import LONGEST
from .calls import NoValue, TaskReport, arguments_of, deserialized_call, is_blocked
from .context import TaskContext, current
from .reading import read_result
from .task import failure_report, storage_failure, store_value

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .calls import TaskCall, TaskReferences


class ListenerFailed(Exception):  # noqa: N818
    """A listener raised what is no Exception, such as KeyboardInterrupt; as it is, it would end the loop of all waits.

    Attributes:
        error: what it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class WaitActor:
    """An actor whose methods end when a wait does; they return what tasks do."""

    async def sleep(self, serialized: bytes, *arguments: Any) -> tuple[Any, bytes]:
        """Sleep until the time that is stored, which the first attempt computes.

        Args:
            serialized: the serialized `TaskCall`.
            arguments: references, if there are any; then one for each need.
        """
        call, references, needs = deserialized_call(serialized, arguments)

        async def wait(duration: float) -> None:
            until = await asyncio.to_thread(_deadline, call, duration)
            while (left := until - time.time()) > 0:
                await asyncio.sleep(min(left, LONGEST))

        report, value = await _answer(call, references, needs, wait)
        return value, pickle.dumps(report)

    async def event(self, serialized: bytes, *arguments: Any) -> tuple[Any, bytes]:
        """Wait for an event, store it, and notify the listener.

        Args:
            serialized: the serialized `TaskCall`.
            arguments: references, if there are any; then one for each need.
        """
        call, references, needs = deserialized_call(serialized, arguments)

        async def wait(listener: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
            event = await asyncio.to_thread(_received, call)
            if event is None:
                polled = await _in_a_thread(call, lambda: listener().poll_for_event(*args, **kwargs))
                event = await asyncio.to_thread(_receive, call, polled)
            await _in_a_thread(call, lambda: listener().event_checkpointed(event[0]))
            return event[0]

        report, value = await _answer(call, references, needs, wait)
        return value, pickle.dumps(report)


async def _answer(
    call: TaskCall, references: TaskReferences, needs: Sequence[Any], wait: Callable[..., Coroutine[Any, Any, Any]]
) -> tuple[TaskReport, Any]:
    if is_blocked(call, needs):
        return TaskReport("blocked"), NoValue()
    start = time.time()
    try:
        if call.checkpoint:
            stored = await asyncio.to_thread(read_result, call.location, call.key)
            if stored[0].ended != "lost":
                return stored
        try:
            args, kwargs = await asyncio.to_thread(arguments_of, call, references, needs)
            value = await wait(*args, **kwargs)
        except StorageError:
            raise
        except ListenerFailed as failed:
            return await asyncio.to_thread(failure_report, call, failed.error, start, 1)
        except Exception as error:
            return await asyncio.to_thread(failure_report, call, error, start, 1)
        return await asyncio.to_thread(store_value, call, (value, None) if call.catches else value, start, 1)
    except StorageError as error:
        return storage_failure(error, start)


async def _in_a_thread(call: TaskCall, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine that may block in a thread of its own, and loop of its own."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    inner = asyncio.new_event_loop()
    task: list[asyncio.Task[Any]] = []

    def report(set_it: Callable[[Any], None], what: Any) -> None:
        loop.call_soon_threadsafe(lambda: None if done.done() else set_it(what))

    def run() -> None:
        current.set(TaskContext(call.location.workflow_id, call.name, call.key, call.location))
        try:
            task.append(inner.create_task(work()))
            report(done.set_result, inner.run_until_complete(task[0]))
        except BaseException as error:
            report(done.set_exception, error if isinstance(error, Exception) else ListenerFailed(error))
        finally:
            inner.close()

    threading.Thread(target=run, daemon=True, name=f"waiting for {call.name}").start()
    try:
        return await done
    except asyncio.CancelledError:
        if task and not inner.is_closed():
            inner.call_soon_threadsafe(task[0].cancel)
        raise


def _deadline(call: TaskCall, duration: float) -> float:
    until: float = call.location.journal.put_or_get(f"wait/{call.key}", "until", time.time() + duration)[1]
    return until


def _received(call: TaskCall) -> tuple[Any] | None:
    """Return the event that is stored, in a tuple."""
    record = call.location.journal.get(f"wait/{call.key}")
    if record is None or not are_objects_valid(call.location, record[2]):
        return None
    return (deserialize(record[1], object_references(call.location, record[2])),)


def _receive(call: TaskCall, event: Any) -> tuple[Any]:
    """Store an event; return it, or the one that was stored before."""
    serialized = serialize(event)
    objects = store_references(call.location, serialized.references) if serialized.references else []
    if not call.location.journal.put(f"wait/{call.key}", "event", serialized.data, objects):
        received = _received(call)
        if received is not None:
            return received
        call.location.journal.replace(f"wait/{call.key}", "event", serialized.data, objects)
    return (deserialize(serialized.data, object_references(call.location, objects)),)
