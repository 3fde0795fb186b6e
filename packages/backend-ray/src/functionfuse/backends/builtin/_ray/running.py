"""Calls that run on machines which have not the folder of the driver's `RunningCalls`: an actor receives them."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ray
import ray.util.client
from ray.exceptions import RayError

from functionfuse.backends import running_calls

from .machines import has_autoscaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functionfuse.backends.running_calls import RunningCalls

_NAMESPACE = "functionfuse"
_PATIENCE = 1.0  # seconds that a display waits for the actor


class RunningActor:
    """Knows which calls of one run run now, as their workers report it."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}

    def began(self, name: str, started: float) -> None:
        """Take in that a call has begun.

        Args:
            name: the full name of the node.
            started: when, in seconds since the epoch.
        """
        self._started[name] = started

    def ended(self, name: str) -> None:
        """Take in that a call has ended.

        Args:
            name: the full name of the node.
        """
        self._started.pop(name, None)

    def started(self) -> dict[str, float]:
        """Return by name when each call that runs was started."""
        return self._started


@contextmanager
def reported_by_machines(calls: RunningCalls | None) -> Iterator[None]:
    """Receive from workers on other machines which calls run, within the context.

    Args:
        calls: of the run; None if nobody looks.
    """
    is_client = ray.util.client.ray.is_connected()  # whose folder no worker has
    if calls is None or not (is_client or len(ray.nodes()) > 1 or has_autoscaler()):
        yield
        return
    kind: Any = ray.remote(num_cpus=0)(RunningActor)
    actor = kind.options(name=_name_of(calls.location), namespace=_NAMESPACE).remote()

    def started() -> dict[str, float]:
        with suppress(RayError):  # it is busy, or has ended with its machine
            found: dict[str, float] = ray.get(actor.started.remote(), timeout=_PATIENCE)
            return found
        return {}

    calls.others.append(started)
    try:
        yield
    finally:
        calls.others.remove(started)
        with suppress(RayError):
            ray.kill(actor)


@contextmanager
def running_elsewhere(location: str, name: str) -> Iterator[None]:
    """Report a call to the driver, in a worker that has not its folder.

    Args:
        location: of the driver's `RunningCalls`.
        name: the full name of the node.
    """
    actor = _actor_of(location) if ray.is_initialized() else None
    if actor is None:
        yield
        return
    actor.began.remote(name, time.time())
    try:
        yield
    finally:
        actor.ended.remote(name)


running_calls.elsewhere = running_elsewhere


@lru_cache(maxsize=8)
def _actor_of(location: str) -> Any:
    with suppress(ValueError, RayError):  # there is none
        return ray.get_actor(_name_of(location), namespace=_NAMESPACE)
    return None


def _name_of(location: str) -> str:
    return os.path.basename(location)  # noqa: PTH119  a path of another machine
