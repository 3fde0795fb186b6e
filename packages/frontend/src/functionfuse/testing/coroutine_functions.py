"""The coroutine functions that nodes of the conformance suite call: importable, so that every worker finds them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

from functionfuse import workflow
from functionfuse.testing.functions import note, noted_words, same

setting: ContextVar[str] = ContextVar("functionfuse_testing_setting", default="none")


@workflow
async def added_later(a: Any, b: Any) -> Any:
    """Return the sum, from another task of the loop.

    Args:
        a: one summand.
        b: the other.
    """
    await asyncio.sleep(0)
    [total] = await asyncio.gather(_sum(a, b))
    return total


async def _sum(a: Any, b: Any) -> Any:
    await asyncio.sleep(0)
    return a + b


@wraps(_sum)
def _logged(*args: Any) -> Any:
    return _sum(*args)


class Adding:
    """Its objects are called as coroutine functions are."""

    async def __call__(self, a: Any, b: Any) -> Any:
        return await _sum(a, b)


added_by_partial = workflow(partial(_sum, 1))
added_by_object = workflow(Adding())
added_by_wrapper = workflow(_logged)


@workflow
class LateSum:
    """A sum whose methods are coroutines, but for one."""

    def __init__(self, start: int = 0) -> None:
        self.sum = start

    async def add(self, value: int) -> int:
        """Add a value and return the sum."""
        await asyncio.sleep(0)
        self.sum += value
        return self.sum

    def present(self) -> int:
        """Return the sum."""
        return self.sum


def choose(value: str) -> None:
    """Set what `chosen` returns, in this context."""
    setting.set(value)


@workflow
async def chosen() -> tuple[str, str]:
    """Return the setting before and in a task of its own."""
    before = setting.get()
    return before, await asyncio.create_task(_setting())


async def _setting() -> str:
    await asyncio.sleep(0)
    return setting.get()


@workflow
async def fails_later_until(log: str, attempt: int) -> int:
    """Fail until an attempt, and return its number.

    Args:
        log: the path of a file that counts the attempts.
        attempt: the first attempt that does not fail.
    """
    await asyncio.sleep(0)
    note(log, "attempt")
    made = len(noted_words(log))
    if made < attempt:
        raise ConnectionError(f"attempt {made}")
    return made


@workflow
async def waits_around(log: str, seconds: float) -> None:
    """Note before and after it waits, also when it is stopped.

    Args:
        log: the file's path.
        seconds: how long it waits.
    """
    note(log, "begun")
    try:
        await asyncio.sleep(seconds)
        note(log, "ended")
    finally:
        await asyncio.sleep(0)
        note(log, "left")


@workflow
async def returns_nodes(count: int) -> Any:
    """Return nodes, of coroutine functions and of others.

    Args:
        count: how many.
    """
    await asyncio.sleep(0)
    return [same(added_later(number, 1)) for number in range(count)]
