"""How many calls are submitted to an executor at one time, and how many of them in one batch."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TypeVar

from functionfuse.backends.performing import perform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from functionfuse.backends.calls import Call, Outcome

C = TypeVar("C")
A = TypeVar("A")

MOST_CALLS = 20_000  # at one time
MOST_BYTES = 256 << 20  # of their pickled arguments
WORKERS_UNKNOWN = 500  # assumed for an executor that does not tell
WORK_AHEAD = 0.1  # seconds of work that an executor gets beyond what it runs
BATCH_SECONDS = 0.002  # of short calls that are sent together
BATCH_CALLS = 64


class Throttle:
    """A limit on submitted calls, from the measured duration of calls.

    An executor gets few calls, so that results are consumed soon after they are made and memory stays
    low; but enough short ones that workers need not wait for the driver.

    Args:
        executor: the executor.

    Attributes:
        window: how many calls may be submitted at one time.
    """

    def __init__(self, executor: Executor) -> None:
        self._workers: int = getattr(executor, "_max_workers", None) or WORKERS_UNKNOWN
        self._seconds = WORK_AHEAD
        self._seconds_of: dict[str, float] = {}
        self.window = 2 * self._workers

    def learn(self, call: Call, seconds: float) -> None:
        """Update the running mean of how long calls take.

        Args:
            call: a call.
            seconds: how long it took.
        """
        name = call.target.qualname
        known = self._seconds_of.get(name, seconds)
        self._seconds_of[name] = known + 0.2 * (seconds - known)
        self._seconds += 0.1 * (seconds - self._seconds)
        ahead = int(self._workers * WORK_AHEAD / max(self._seconds, 1e-9))
        self.window = min(MOST_CALLS, ahead + 2 * self._workers)

    def expected(self, call: Call) -> float:
        """Return the expected seconds of a call: the mean of calls of the same function, or infinity."""
        return self._seconds_of.get(call.target.qualname, math.inf)


def perform_each(calls: Sequence[C], perform: Callable[[C], A]) -> list[A]:
    """Perform the calls of a batch one after the other, until they have taken much longer than a batch should.

    Args:
        calls: the calls.
        perform: performs one.

    Returns:
        How each ended. Where these are fewer than the calls, the rest did not begin.
    """
    outcomes = []
    end = time.perf_counter() + 5 * BATCH_SECONDS
    for call in calls:
        outcomes.append(perform(call))
        if time.perf_counter() > end:
            break
    return outcomes


def perform_batch(calls: Sequence[Call]) -> list[Outcome]:
    """Perform a batch of calls in this process; see `perform_each`."""
    return perform_each(calls, perform)
