"""Running coroutines: on an event loop of their own, or on one in another thread."""

from __future__ import annotations

import asyncio
import functools
import threading
import time

import pytest

from functionfuse import workflow
from functionfuse.backends import performing
from functionfuse.backends.calls import Call, evaluate
from functionfuse.backends.coroutines import LoopThread, run_to_end
from functionfuse.backends.limits import TimeLimitExceeded
from functionfuse.backends.performing import perform
from functionfuse.decorator import target_called
from functionfuse.errors import UsageError
from functionfuse.targets import is_coroutine_function


async def number(value=1):
    await asyncio.sleep(0)
    return value


async def asynchronous_generator():
    yield 1


class Callable:
    async def __call__(self):
        return 1

    async def method(self):
        return 1

    @classmethod
    async def of_class(cls):
        return 1


@functools.wraps(number)
def wrapped():
    return number()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (number, True),
        (functools.partial(number, 2), True),
        (functools.partial(functools.partial(number), 2), True),
        (Callable(), True),
        (Callable().method, True),
        (functools.partial(Callable()), True),
        (Callable.of_class, True),
        (wrapped, False),
        (Callable, False),
        (len, False),
        (functools.partial(int, base=2), False),
        (asynchronous_generator, False),
    ],
)
def test_what_is_a_coroutine_function(function, expected):
    assert is_coroutine_function(function) is expected


def test_a_method_of_a_decorated_class():
    @workflow
    class Counter:
        async def count(self):
            return 1

        @staticmethod
        async def static():
            return 1

        def plain(self):
            return 1

    methods = target_called(Counter).methods
    assert {name: methods[name].is_async for name in ("count", "static", "plain")} == {
        "count": True,
        "static": True,
        "plain": False,
    }


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: [number()], "the result holds a coroutine"),
        (lambda: asynchronous_generator(), "the result is a async_generator"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'number' was never awaited")
def test_what_is_still_no_value(function, message):
    with pytest.raises(UsageError, match=message):
        evaluate(function, (), {})


def test_a_coroutine_that_returns_an_iterator():
    async def iterator():
        return iter([1])

    with pytest.raises(UsageError, match="the result is an iterator"):
        evaluate(iterator, (), {})


def test_in_this_thread():
    async def thread():
        return threading.current_thread()

    assert run_to_end(thread()) is threading.current_thread()


def test_in_another_thread_where_this_one_runs_a_loop():
    async def thread():
        return threading.current_thread()

    async def outer():
        return run_to_end(thread())

    assert asyncio.run(outer()).name == "functionfuse-event-loop"


def test_the_event_loop_of_the_thread_stays():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        run_to_end(number())
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_the_tasks_that_are_left_are_cancelled():
    ended = []

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    async def leaves_a_task():
        asyncio.get_running_loop().tasks = [asyncio.ensure_future(waits())]
        await asyncio.sleep(0)

    with LoopThread() as loop:
        loop.submit(leaves_a_task()).result()
    assert ended == [1]


def test_an_exit_that_a_task_raises_leaves_the_loop():
    async def exits():
        raise SystemExit(3)

    async def starts():
        await asyncio.create_task(exits())

    with LoopThread() as loop:
        first, second = loop.submit(starts()), loop.submit(number())
        with pytest.raises(SystemExit):
            first.result(60)
        assert second.result(60) == 1


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_coroutine_that_blocks_its_loop(where, monkeypatch):
    """It is stopped, or left to itself, some seconds after its time limit."""
    monkeypatch.setattr(performing, "CLEANUP", 0.1)
    goes_on = threading.Event()

    async def blocks():
        while not goes_on.is_set():
            time.sleep(0.01)

    outcomes = []
    call = Call(target_called(workflow(blocks)), (), {}, timeout=0.1)
    if where == "main":
        outcomes.append(perform(call))
    else:
        thread = threading.Thread(target=lambda: outcomes.append(perform(call)))
        thread.start()
        thread.join()
    goes_on.set()
    assert isinstance(outcomes[0].error, TimeLimitExceeded)
    assert str(outcomes[0].error).startswith("took longer than 0.1 s")


def test_the_error_shows_where_the_coroutine_waited():
    async def waits_here():
        await asyncio.sleep(60)

    with pytest.raises(TimeLimitExceeded) as caught:
        run_to_end(waits_here(), 0.01)
    assert "waits_here" in [entry.name for entry in caught.traceback]


def test_a_coroutine_that_fails_when_it_is_cancelled():
    async def fails():
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("while it cleaned up")

    with pytest.raises(TimeLimitExceeded) as caught:
        run_to_end(fails(), 0.01)
    assert repr(caught.value.__cause__) == "ValueError('while it cleaned up')"


def test_its_own_timeout_is_no_time_limit():
    async def times_out():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError) as caught:
        run_to_end(times_out(), 60)
    assert type(caught.value) is TimeoutError
