"""Interrupts on their way from the driver of a graph to the cluster, where what runs is let finish."""

from __future__ import annotations

import asyncio
import threading
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from .._worker.task_actor import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functionfuse.backends.interruption import Runs

_POLL = 0.1  # seconds between two attempts to end a run that has not begun


class InterruptActor:
    """An actor of the driver, which tells the run of a graph that it shall end."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()

    async def started(self) -> None:
        """Return when it is there."""

    async def request(self) -> None:
        """Let the run end."""
        self._requested.set()

    async def wait(self) -> None:
        """Return when the run shall end."""
        await self._requested.wait()


def start_interrupts() -> tuple[str, Any]:
    """Start an actor for the interrupts of one run, which are not to wait for it; return its name and the actor."""
    name = f"functionfuse-interrupts-{uuid.uuid4().hex}"
    kind = ray.remote(num_cpus=0)(InterruptActor)
    actor = kind.options(name=name, namespace=NAMESPACE, max_concurrency=2).remote()
    ray.get(actor.started.remote())
    return name, actor


@contextmanager
def ended_by(name: str, runs: Runs) -> Iterator[None]:
    """Let a thread end the run of a graph in this process when the driver says so.

    Args:
        name: of the actor; "" for none.
        runs: those of the graph; the one to end may begin later.
    """
    over = threading.Event()

    def wait() -> None:
        with suppress(RayError, ValueError):  # the driver has ended; the run goes on
            ray.get(ray.get_actor(name, namespace=NAMESPACE).wait.remote())
            while not runs.cancel() and not over.wait(_POLL):
                pass

    if name:
        threading.Thread(target=wait, daemon=True, name="functionfuse interrupts").start()
    try:
        yield
    finally:
        over.set()
