"""Waiting for a function in a thread, while an event loop goes on."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from functionfuse.backends.background import in_thread

setting = ContextVar("setting", default="none")


def never():
    raise AssertionError("nobody cancels it")


def test_the_loop_goes_on():
    going_on = threading.Event()

    async def both():
        asyncio.get_running_loop().call_later(0.01, going_on.set)
        return await in_thread(lambda: going_on.wait(60), never)

    assert asyncio.run(both()) is True


def test_the_context_is_that_of_the_task():
    async def seen():
        setting.set("by the task")
        return await in_thread(setting.get, never)

    assert asyncio.run(seen()) == "by the task"


@pytest.mark.parametrize("kind", [ValueError, StopIteration, KeyboardInterrupt, asyncio.CancelledError])
def test_what_the_function_raises(kind):
    def fails():
        raise kind("no")

    async def caught():
        try:
            await in_thread(fails, never)
        except BaseException as error:
            return repr(error)

    expected = RuntimeError("coroutine raised StopIteration") if kind is StopIteration else kind("no")
    assert asyncio.run(caught()) == repr(expected)


def test_a_task_that_is_cancelled_waits_until_the_function_has_ended():
    """Also where there was nothing to cancel at first."""
    stop, ended, asked = threading.Event(), [], []

    def works():
        stop.wait(60)
        ended.append(1)

    def cancel():
        asked.append(1)
        if len(asked) == 3:
            stop.set()
        return len(asked) == 3

    async def cancelled():
        task = asyncio.create_task(in_thread(works, cancel))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled(), list(ended), len(asked)

    assert asyncio.run(cancelled()) == (True, [1], 3)


def test_a_function_that_ends_after_its_loop():
    stop, ended = threading.Event(), threading.Event()

    def works():
        stop.wait(60)
        ended.set()

    async def left():
        task = asyncio.create_task(in_thread(works, lambda: True))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()  # which no longer waits
        await asyncio.wait({task})

    asyncio.run(left())
    stop.set()
    assert ended.wait(60)
