"""Running coroutines: to their end where a call is made, or beside others on one event loop."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from functionfuse.backends.limits import TimeLimitExceeded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from concurrent.futures import Future

CLEANUP = 5.0
"""Seconds that a coroutine has to end after it was cancelled at its time limit; then it is cancelled again."""

_BEAT = 0.2  # seconds


def run_to_end(coroutine: Coroutine[Any, Any, Any], seconds: float | None = None) -> Any:
    """Run a coroutine to its end on an event loop of its own, in a copy of this context, and return its result.

    The loop runs in this thread, or in another one where this thread runs a loop already.

    Args:
        coroutine: the coroutine.
        seconds: that it may take.

    Raises:
        TimeLimitExceeded: it took longer.
    """
    import asyncio  # which takes long to import

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            _beat(runner.get_loop())
            return runner.run(awaited(coroutine, seconds))
    with LoopThread() as loop:
        return loop.submit(awaited(coroutine, seconds)).result()


def _beat(loop: asyncio.AbstractEventLoop) -> None:
    """Let the thread of a loop run code now and then: an exception that another thread raises in it waits for that."""
    loop.call_later(_BEAT, _beat, loop)


async def awaited(coroutine: Coroutine[Any, Any, Any], seconds: float | None) -> Any:
    """Await a coroutine, which is cancelled at its time limit, and return its result.

    Args:
        coroutine: the coroutine.
        seconds: that it may take; None for no limit.

    Raises:
        TimeLimitExceeded: it took longer.
    """
    if seconds is None:
        return await coroutine
    import asyncio

    task = asyncio.ensure_future(coroutine)
    try:
        ended, _ = await asyncio.wait({task}, timeout=seconds)
        if ended:
            return task.result()
        while not ended:
            task.cancel()
            ended, _ = await asyncio.wait({task}, timeout=CLEANUP)
    except asyncio.CancelledError:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        raise
    exceeded = TimeLimitExceeded(f"took longer than {seconds:g} s")
    try:
        task.result()
    except asyncio.CancelledError as cancelled:  # shows where it waited
        raise exceeded.with_traceback(cancelled.__traceback__) from None
    except BaseException as error:
        raise exceeded from error
    raise exceeded


class LoopThread:
    """An event loop in a thread of its own. With the context, the tasks that are left are cancelled."""

    def __init__(self) -> None:
        import asyncio

        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop: asyncio.AbstractEventLoop = self._runner.get_loop()
        self._is_closing = False
        self._thread = threading.Thread(target=self._serve, name="functionfuse-event-loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLEANUP)  # what blocks the loop longer is left to itself

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Let the loop run a coroutine in a copy of this context, and return a future of its result."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _serve(self) -> None:
        with self._runner:
            while not self._is_closing:
                with suppress(KeyboardInterrupt, SystemExit):  # of a task, whose future has it too
                    self._loop.run_forever()
