"""Cancellation of tasks that Ray has.

A call of `ray.cancel` races with the end of its task: if the answer of the worker arrives just then, Ray ends the
process that called ("Tried to complete task that was not pending", Ray 2.60). Answers are processed by one thread of
each process that submits tasks; what is cancelled by that thread is not in this race.
"""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import ray
import ray.util.client

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANSWERED = 10.0  # seconds in which the server of a client answers


def cancel_tasks(references: Sequence[Any], *, force: bool = False) -> Event:
    """Cancel tasks that wait, and interrupt those that run.

    Args:
        references: of the tasks; this process, or the server of this client, has submitted them.
        force: whether the processes of running tasks are ended.

    Returns:
        What is set once Ray was asked for all of them.
    """
    asked = Event()
    if ray.util.client.ray.is_connected():
        # The owner is asked by a message, which it processes in the thread of the answers.
        ray.wait([ray.remote(_cancel_all).options(num_cpus=0).remote(list(references), force)], timeout=_ANSWERED)
        asked.set()
        return asked
    kept = [ray.put(None)]  # an object that is dropped before it is called back ends the process, too

    def answer(_: object) -> None:
        try:
            _cancel_all(references, force)
        finally:
            kept.clear()
            asked.set()

    kept[0]._on_completed(answer)
    return asked


def _cancel_all(references: Sequence[Any], force: bool) -> None:
    for reference in references:
        ray.cancel(reference, force=force)
