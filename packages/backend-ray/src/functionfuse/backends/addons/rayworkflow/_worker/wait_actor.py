"""The hub: one process for all waits of a cluster, which hold no worker."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

from functionfuse.errors import StorageError

from .._dag.serialization import pack, unpack
from .._records.references import are_kept, keep_all, load_all
from .context import TaskContext, current
from .task import (
    NoValue,
    Report,
    arguments_of,
    failed,
    is_blocked,
    kept,
    recall,
    unpacked_job,
    unstored,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .task import Job, References

_LONGEST = 60.0  # seconds to sleep at once: so long may a clock that was moved, or a machine that slept, go unnoticed


class Hub:
    """An actor whose methods end when a wait does; they answer as tasks do."""

    async def sleep(self, packed: bytes, *taken: Any) -> tuple[bytes, Any]:
        """Sleep until the time that is stored, which the first attempt computes."""
        job, references, needs = unpacked_job(packed, taken)

        async def wait(duration: float) -> None:
            until = await asyncio.to_thread(_deadline, job, duration)
            while (left := until - time.time()) > 0:
                await asyncio.sleep(min(left, _LONGEST))

        report, value = await _answer(job, references, needs, wait)
        return pickle.dumps(report), value

    async def event(self, packed: bytes, *taken: Any) -> tuple[bytes, Any]:
        """Wait for an event, store it, and tell the listener so."""
        job, references, needs = unpacked_job(packed, taken)

        async def wait(listener: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
            event = await asyncio.to_thread(_received, job)
            if event is None:
                polled = await _in_a_thread(job, lambda: listener().poll_for_event(*args, **kwargs))
                event = await asyncio.to_thread(_receive, job, polled)
            await _in_a_thread(job, lambda: listener().event_checkpointed(event[0]))
            return event[0]

        report, value = await _answer(job, references, needs, wait)
        return pickle.dumps(report), value


async def _answer(
    job: Job, references: References, needs: Sequence[Any], wait: Callable[..., Coroutine[Any, Any, Any]]
) -> tuple[Report, Any]:
    if is_blocked(job, needs):
        return Report("blocked"), NoValue()
    start = time.time()
    try:
        if job.checkpoint:
            stored = await asyncio.to_thread(recall, job.place, job.key)
            if stored[0].ended != "lost":
                return stored
        try:
            args, kwargs = await asyncio.to_thread(arguments_of, job, references, needs)
            value = await wait(*args, **kwargs)
        except StorageError:
            raise
        except Exception as error:
            return await asyncio.to_thread(failed, job, error, start, 1)
        return await asyncio.to_thread(kept, job, (value, None) if job.catches else value, start, 1)
    except StorageError as error:
        return unstored(error, start)


async def _in_a_thread(job: Job, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine that may block in a thread of its own, and loop of its own."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    inner = asyncio.new_event_loop()
    task: list[asyncio.Task[Any]] = []

    def tell(set_it: Callable[[Any], None], what: Any) -> None:
        loop.call_soon_threadsafe(lambda: None if done.done() else set_it(what))

    def run() -> None:
        current.set(TaskContext(job.place.workflow_id, job.name, job.key, job.place))
        try:
            task.append(inner.create_task(work()))
            tell(done.set_result, inner.run_until_complete(task[0]))
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            tell(done.set_exception, error)
        finally:
            inner.close()

    threading.Thread(target=run, daemon=True, name=f"waiting for {job.name}").start()
    try:
        return await done
    except asyncio.CancelledError:
        if task and not inner.is_closed():
            inner.call_soon_threadsafe(task[0].cancel)
        raise


def _deadline(job: Job, duration: float) -> float:
    until: float = job.place.journal.put_or_get(f"wait/{job.key}", "until", time.time() + duration)[1]
    return until


def _received(job: Job) -> tuple[Any] | None:
    """Return the event that is stored, in a tuple."""
    record = job.place.journal.get(f"wait/{job.key}")
    if record is None or not are_kept(job.place, record[2]):
        return None
    return (unpack(record[1], load_all(job.place, record[2])),)


def _receive(job: Job, event: Any) -> tuple[Any]:
    """Store an event; return it, or the one that was stored before."""
    packed = pack(event)
    objects = keep_all(job.place, packed.references) if packed.references else []
    if not job.place.journal.put(f"wait/{job.key}", "event", packed.data, objects):
        received = _received(job)
        if received is not None:
            return received
        job.place.journal.replace(f"wait/{job.key}", "event", packed.data, objects)
    return (unpack(packed.data, load_all(job.place, objects)),)
