"""Waiting for a function in a thread, while an event loop goes on."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_AGAIN = 0.1  # seconds after which a function is cancelled again that had not begun what can be cancelled


async def in_thread(function: Callable[[], Any], cancel: Callable[[], bool]) -> Any:
    """Call a function in a thread of its own, in a copy of this context, and return its result.

    Args:
        function: the function.
        cancel: called when this task is cancelled; lets the function end, and returns whether it can.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    results: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            results.append((function(), None))
        except BaseException as error:
            results.append((None, error))
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=copy_context().run, args=(work,), name="functionfuse-run", daemon=True).start()
    try:
        await ended.wait()
    except asyncio.CancelledError:
        is_cancelled = False
        while not ended.is_set():
            is_cancelled = is_cancelled or await asyncio.to_thread(cancel)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _AGAIN)
        raise
    value, error = results.pop()
    if error is not None:
        raise error
    return value
