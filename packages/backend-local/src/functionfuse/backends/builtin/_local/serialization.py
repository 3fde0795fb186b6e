"""Calls and outcomes as bytes, for executors whose workers are other processes."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

import cloudpickle

from functionfuse.backends.calls import Outcome
from functionfuse.backends.performing import perform
from functionfuse.backends.serialization import Serializer, deserialized_outcome
from functionfuse.backends.workers import watch_driver

from .throttle import perform_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functionfuse.backends.worker_state import WorkerState

__all__ = ["deserialized_outcome", "perform_serialized", "send_main_by_value", "serializer"]

_SPAWNED_MAIN = "__mp_main__"  # the name that multiprocessing gives it

serializer = Serializer(cloudpickle.Pickler)


def send_main_by_value() -> None:
    """Let functions of a spawned process's main module travel by value, as those of ``__main__`` do."""
    if _SPAWNED_MAIN in sys.modules:
        cloudpickle.register_pickle_by_value(sys.modules[_SPAWNED_MAIN])


def perform_serialized(
    calls: Sequence[bytes],
    state: WorkerState,
    batch_id: str,  # noqa: ARG001
    driver_pid: int,
) -> list[bytes]:
    """Perform a batch of serialized calls in this process; see `perform_each`.

    Args:
        calls: the calls.
        state: what this process takes over from the driver before.
        batch_id: makes every batch another one for executors that give equal calls one result, as Dask's does.
        driver_pid: the process number of the driver.

    Returns:
        The serialized outcomes.
    """
    watch_driver(driver_pid)
    try:
        state.take_over(())
    except Exception as error:
        return [serializer.outcome(Outcome(None, None, error, 0.0))] * len(calls)
    return perform_each(calls, _perform_one)


def _perform_one(data: bytes) -> bytes:
    try:
        call = pickle.loads(data)
    except Exception as error:
        error.add_note("while a worker deserialized the function and its arguments")
        return serializer.outcome(Outcome(None, None, error, 0.0))
    return serializer.outcome(perform(call))
